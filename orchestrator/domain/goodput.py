"""The goodput ledger: each granted worker-second of a run in exactly one bucket.

A worker-second is granted from the moment the cluster gives a worker its place until the place is given back.
Which bucket it belongs to follows from the durable records alone (`goodput_history`), so it can be asked of a
living run, of one that ended and of one whose controller was killed: what nobody ended ends with the last
sign of life of its attempt.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.goodput_history import Bucket, History
from orchestrator.domain.goodput_stages import Spent, group_of, left_at, spent_by
from orchestrator.domain.journal import JournalReader
from orchestrator.domain.run_directory import RunDirectory

_AT_ONCE: Final = 10_000
"""Records, a few megabytes."""


class Goodput(BaseModel):
    """Where worker-seconds went: of a run, of a queue, of a cluster."""

    model_config = ConfigDict(frozen=True)

    worker_s: float = 0.0
    """Granted worker-seconds, from the places alone."""
    buckets: dict[Bucket, float] = dict.fromkeys(Bucket, 0.0)
    """Worker-seconds; they add up to `worker_s`."""
    goodput: float | None = None
    """The productive share; None where nothing was granted."""
    queue_s: float = 0.0
    """Seconds in which no worker had a place: queued, paused, or between two attempts."""
    steps: int = 0
    """Steps done, replays not counted."""
    steps_repeated: int = 0
    """Steps that were done, and done again."""
    workers_lost: int = 0
    """Workers that had a place and died, hung, raised or were outvoted."""


class RunGoodput(Goodput):
    run: str
    attempts: int = 0
    over: bool = False
    """No attempt lives; else the figures go as far as the newest record."""


class QueueGoodput(Goodput):
    queue: str
    runs: int


class ClusterGoodput(BaseModel):
    model_config = ConfigDict(frozen=True)

    queues: tuple[QueueGoodput, ...]
    cluster: Goodput
    runs: int
    left_out: tuple[str, ...] = ()
    """Names of runs whose records cannot be read."""


class GoodputLedger:
    """Of one run. Asked again, it reads only what is new."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._history = History()
        self._points = JournalReader(run.outbox, "metrics")
        self._events = JournalReader(run.outbox, "events")
        self._seen = {"metrics": 0, "events": 0}

    def read(self) -> RunGoodput:
        """Raises StorageError where a record is broken."""
        state, record = self._run.read_status(), self._run.record()
        # The points first: the generation of each is an event that was written before it.
        self._read("metrics", self._points, self._history.point)
        self._read("events", self._events, self._history.event)
        created = datetime.fromisoformat(record.created).timestamp()
        minimum = self._run.spec().workers.min
        over = state.reason is not None
        return run_goodput(self._run.name, self._history, created, minimum=minimum, over=over)

    def _read(self, name: str, reader: JournalReader, take: Callable[[Mapping[str, Any]], None]) -> None:
        while records := reader.read(self._seen[name], _AT_ONCE):
            for record in records:
                take(record)
            self._seen[name] = records[-1]["seq"]


def goodput(run: RunDirectory) -> RunGoodput:
    """Of a run, living or ended. Raises StorageError where a record is broken."""
    return GoodputLedger(run).read()


def run_goodput(run: str, history: History, created: float, *, minimum: int, over: bool) -> RunGoodput:
    """`created` in seconds since 1970; `minimum` is the gang, without which nobody trains; `over` says that
    no attempt lives."""
    newest = max(history.attempts, default=0)
    spent: Spent = dict.fromkeys(Bucket, 0.0)
    worker_s = queue_s = 0.0
    until = created
    for number, attempt in sorted(history.attempts.items()):
        living = number == newest and not over and not attempt.over
        group = group_of(attempt)
        for name, worker in attempt.workers.items():
            worker_s += left_at(attempt, worker) - worker.placed
            mine = spent_by(attempt, group, name, living=living, minimum=minimum)
            spent = {bucket: spent[bucket] + mine[bucket] for bucket in Bucket}
        first = min((worker.placed for worker in attempt.workers.values()), default=attempt.end)
        queue_s += max(0.0, first - until)
        until = max(until, attempt.end)
    return RunGoodput(
        run=run,
        attempts=len(history.attempts),
        over=over,
        steps=history.num_steps,
        steps_repeated=history.num_repeated,
        workers_lost=history.num_lost,
        queue_s=queue_s,
        **_shares(worker_s, spent),
    )


def cluster_goodput(runs: Iterable[tuple[str, RunGoodput]], left_out: Sequence[str] = ()) -> ClusterGoodput:
    """Of runs with the names of their queues."""
    by_queue: dict[str, list[RunGoodput]] = {}
    for queue, run in runs:
        by_queue.setdefault(queue, []).append(run)
    everything = [run for of_queue in by_queue.values() for run in of_queue]
    return ClusterGoodput(
        queues=tuple(
            QueueGoodput(queue=queue, runs=len(found), **_sum(found))
            for queue, found in sorted(by_queue.items())
        ),
        cluster=Goodput(**_sum(everything)),
        runs=len(everything),
        left_out=tuple(left_out),
    )


def _shares(worker_s: float, spent: Spent) -> dict[str, Any]:
    share = spent[Bucket.PRODUCTIVE] / worker_s if worker_s else None
    return {"worker_s": worker_s, "buckets": spent, "goodput": share}


def _sum(runs: Sequence[Goodput]) -> dict[str, Any]:
    spent = {bucket: sum(run.buckets[bucket] for run in runs) for bucket in Bucket}
    return {
        **_shares(sum(run.worker_s for run in runs), spent),
        "queue_s": sum(run.queue_s for run in runs),
        "steps": sum(run.steps for run in runs),
        "steps_repeated": sum(run.steps_repeated for run in runs),
        "workers_lost": sum(run.workers_lost for run in runs),
    }
