"""The life of each worker of a run and what went wrong, as its events tell it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from api.service.workers import PAGE, Roster
from orchestrator.domain.events import EventKind
from orchestrator.domain.runs import RunEvent
from orchestrator.ports.record import Record

_ENDS: Final = frozenset(
    {
        EventKind.WORKER_LOST,
        EventKind.WORKER_HUNG,
        EventKind.REPLICA_CORRUPTED,
        EventKind.WORKER_RETIRED,
        EventKind.WORKER_REFUSED,
        EventKind.WORKER_GONE,
    }
)
_INCIDENTS: Final = frozenset(
    {
        EventKind.WORKER_LOST,
        EventKind.WORKER_HUNG,
        EventKind.WORKER_KILLED,
        EventKind.WORKER_REFUSED,
        EventKind.REPLICA_CORRUPTED,
        EventKind.REPLICAS_DIFFER,
        EventKind.STRAGGLER_FOUND,
        EventKind.DRAIN_NOTICED,
        EventKind.DRAIN_OVERDUE,
        EventKind.WAITING_FOR_CAPACITY,
        EventKind.CHECKPOINT_SKIPPED,
        EventKind.STEP_SKIPPED,
        EventKind.NOT_FINITE,
        EventKind.ROLLED_BACK,
        EventKind.STORAGE_HEALED,
        EventKind.BAD_ROW,
        EventKind.FEED_LOST,
        EventKind.USER_ERROR,
        EventKind.RUN_PREEMPTED,
        EventKind.DRIVER_ENDED,
    }
)
_CLOSING: Final = frozenset({EventKind.RUN_ENDED, EventKind.ATTEMPT_ENDED})
KINDS: Final = tuple(
    sorted(
        {
            *_ENDS,
            *_INCIDENTS,
            *_CLOSING,
            EventKind.WORKER_PLACED,
            EventKind.WORKER_STARTED,
            EventKind.WORKER_WARM,
            EventKind.GENERATION_STARTED,
        }
    )
)
"""All that a timeline is made of."""


@dataclass
class WorkerLife:
    """Times as the events have them."""

    worker: str
    attempt: int
    state: str = "placed"
    node_id: str | None = None
    pid: int | None = None
    placed: str | None = None
    started: str | None = None
    warm: str | None = None
    joined: str | None = None
    ended: str | None = None
    why: str | None = None


@dataclass
class Timeline:
    """Fed with events in order."""

    lives: dict[tuple[int, str], WorkerLife] = field(default_factory=dict)
    incidents: list[dict[str, Any]] = field(default_factory=list)
    _roster: Roster = field(default_factory=Roster)

    def take(self, event: RunEvent) -> None:
        kind, worker = event.kind, event.facts.get("worker")
        if kind in _INCIDENTS:
            told = {"time": event.time, "kind": kind, "message": event.message}
            self.incidents.append({**told, "worker": None if worker is None else str(worker)})
        for changed in self._roster.take(event):
            life = self._life(changed.worker, event)
            life.state, life.node_id, life.pid = changed.state, changed.node_id, changed.pid
        if kind == EventKind.GENERATION_STARTED:
            for name in event.facts.get("workers", ()):
                life = self._life(str(name), event)
                life.joined = life.joined or event.time
        elif kind in _CLOSING:
            self._close(event)
        elif worker is not None:
            self._of_a_worker(self._life(str(worker), event), event)

    def _of_a_worker(self, life: WorkerLife, event: RunEvent) -> None:
        match event.kind:
            case EventKind.WORKER_PLACED:
                life.placed = event.time
            case EventKind.WORKER_STARTED:
                life.started = event.time
            case EventKind.WORKER_WARM:
                life.warm = event.time
            case kind if kind in _ENDS and life.ended is None:
                life.ended, life.why = event.time, event.message
                if kind == EventKind.WORKER_GONE:
                    life.state = "ended"

    def _close(self, event: RunEvent) -> None:
        """Nobody is told of separately whom the end of an attempt ends."""
        for life in self.lives.values():
            if life.attempt == event.attempt and life.ended is None:
                life.state, life.ended, life.why = "ended", event.time, event.message

    def _life(self, name: str, event: RunEvent) -> WorkerLife:
        return self.lives.setdefault((event.attempt, name), WorkerLife(name, event.attempt))


async def timeline_of(record: Record, run_id: str) -> Timeline:
    timeline, after = Timeline(), 0
    while True:
        page: Sequence[RunEvent] = await record.events(run_id, after=after, limit=PAGE, kinds=KINDS)
        for event in page:
            timeline.take(event)
        if len(page) < PAGE:
            return timeline
        after = page[-1].seq
