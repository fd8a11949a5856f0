"""Who works for a run, as its events tell it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from orchestrator.domain.errors import WorkerNotFound
from orchestrator.domain.events import EventKind
from orchestrator.domain.runs import Run, RunEvent
from orchestrator.ports.record import Record

PAGE: Final = 500
"""Events read at a time."""
_STATES: Final = {
    EventKind.WORKER_STARTED: "starting",
    EventKind.WORKER_WARM: "warm",
    EventKind.WORKER_LOST: "lost",
    EventKind.WORKER_HUNG: "hung",
    EventKind.REPLICA_CORRUPTED: "corrupted",
    EventKind.WORKER_RETIRED: "retired",
    EventKind.WORKER_REFUSED: "refused",
}
_PRESENT: Final = frozenset({"starting", "warm", "training"})
ENDED: Final = "ended"


@dataclass(frozen=True)
class Worker:
    worker: str
    attempt: int
    state: str
    pid: int | None
    node_id: str | None
    since: str


@dataclass
class Roster:
    """All workers of a run, each in its newest state; fed with events in order."""

    workers: dict[tuple[int, str], Worker] = field(default_factory=dict)
    seq: int = 0

    def take(self, event: RunEvent) -> list[Worker]:
        """The workers that the event changed."""
        self.seq = event.seq
        changed = [worker for worker in self._changed(event) if self._differs(worker)]
        self.workers.update({(worker.attempt, worker.worker): worker for worker in changed})
        return changed

    def _differs(self, worker: Worker) -> bool:
        known = self.workers.get((worker.attempt, worker.worker))
        return known is None or replace(known, since=worker.since) != worker

    def _changed(self, event: RunEvent) -> Iterable[Worker]:
        facts = event.facts
        if event.kind == EventKind.GENERATION_STARTED:
            for name in facts.get("workers", ()):
                yield self._worker(str(name), event, "training")
        elif event.kind in _STATES and "worker" in facts:
            yield self._worker(str(facts["worker"]), event, _STATES[EventKind(event.kind)])
        elif event.kind in (EventKind.RUN_ENDED, EventKind.ATTEMPT_ENDED):
            for known in self.workers.values():
                if known.attempt == event.attempt and known.state in _PRESENT:
                    yield replace(known, state=ENDED, since=event.time)

    def _worker(self, name: str, event: RunEvent, state: str) -> Worker:
        known = self.workers.get((event.attempt, name))
        pid = event.facts.get("pid", known.pid if known else None)
        node_id = event.facts.get("node_id", known.node_id if known else None)
        return Worker(name, event.attempt, state, pid, node_id, event.time)


def check_present(run: Run, name: str, roster: Roster) -> None:
    """Raises WorkerNotFound, with the names of those there, for a worker that the run has not now."""
    there = [
        worker.worker
        for worker in roster.workers.values()
        if worker.attempt == run.attempt and worker.state in _PRESENT
    ]
    if name not in there:
        has = f"it has {', '.join(there)}" if there else "it has none"
        raise WorkerNotFound(f"run {run.name} has no worker {name} now, {has}")


def worker_dict(worker: Worker) -> dict[str, Any]:
    return dict(vars(worker))


async def roster_of(record: Record, run_id: str, *, until: int | None = None) -> Roster:
    """As it was at event `until`; by default now."""
    roster = Roster()
    while True:
        page = await record.events(run_id, after=roster.seq, limit=PAGE)
        for event in page:
            if until is not None and event.seq > until:
                return roster
            roster.take(event)
        if len(page) < PAGE:
            return roster
