"""What users can do to single workers of a run: pure functions, as in `lifecycle`.

A wish names a worker of one attempt, and ids are never used again in it: wished twice is wished once.
"""

from dataclasses import replace
from datetime import datetime

from orchestrator.domain.events import EventKind, event, timestamp
from orchestrator.domain.lifecycle import wrong_status
from orchestrator.domain.runs import Change, Run, WorkerWishes
from orchestrator.domain.status import RunStatus


def drain_worker(run: Run, worker: str, now: datetime) -> Change | None:
    """It leaves when its replacement is warm, or after the grace."""
    wishes = _open_wishes(run, "drained of a worker")
    if worker in wishes.drain:
        return None
    wished = replace(wishes, drain=(*wishes.drain, worker))
    message = f"worker {worker} is to leave when its replacement is there"
    return _wished(run, wished, EventKind.WORKER_DRAIN_REQUESTED, message, worker, now)


def kill_worker(run: Run, worker: str, now: datetime) -> Change | None:
    """A fault on purpose."""
    wishes = _open_wishes(run, "robbed of a worker")
    if worker in wishes.kill:
        return None
    wished = replace(wishes, kill=(*wishes.kill, worker))
    message = f"worker {worker} is to be killed"
    return _wished(run, wished, EventKind.WORKER_KILL_REQUESTED, message, worker, now)


def _open_wishes(run: Run, what: str) -> WorkerWishes:
    """Those of the living attempt. Raises WrongStatus where nobody trains for it."""
    if run.status not in (RunStatus.STARTING, RunStatus.RUNNING):
        raise wrong_status(run, what)
    return run.worker_wishes if run.worker_wishes.attempt == run.attempt else WorkerWishes(run.attempt)


def _wished(
    run: Run, wishes: WorkerWishes, kind: EventKind, message: str, worker: str, now: datetime
) -> Change:
    happened = event(kind, message, now=now, worker=worker)
    return Change(run.with_(worker_wishes=wishes, updated=timestamp(now)), (happened,))
