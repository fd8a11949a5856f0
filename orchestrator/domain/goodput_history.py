"""What the records of a run say of its workers' time: who had a place from when to when, and which steps the
generations did.

Fed with events and metric points in the order of their journals; what it keeps grows with workers and
generations, not with steps. `goodput` makes buckets of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from orchestrator.domain.events import EventKind


class Bucket(StrEnum):
    """Where a granted worker-second went; the order is that of reports."""

    PRODUCTIVE = "productive"
    """Steps done for the first time, and evaluation."""
    REPEATED = "repeated"
    """Steps done again."""
    START = "start"
    """Of a worker that has its place and is in no generation yet; and the first generation's way to its first
    step."""
    RESIZE = "resize"
    """From the last step of a generation to the first one of the next, where nobody was lost."""
    RECOVERY = "recovery"
    """The same where somebody was."""
    INPUT_WAIT = "input_wait"
    """Waiting for rows."""
    CHECKPOINT = "checkpoint"
    """Training held up by a copy of the state, and the last commit."""
    IDLE = "idle"
    """Ready, while places for others are waited for."""


class Farewell(StrEnum):
    """How a worker left."""

    LOST = "lost"
    RETIRED = "retired"


_FAREWELLS: Final = {
    EventKind.WORKER_LOST: Farewell.LOST,
    EventKind.WORKER_HUNG: Farewell.LOST,
    EventKind.REPLICA_CORRUPTED: Farewell.LOST,
    EventKind.USER_ERROR: Farewell.LOST,
    EventKind.WORKER_RETIRED: Farewell.RETIRED,
}


@dataclass
class WorkerLife:
    """Seconds since 1970."""

    placed: float
    warm: float | None = None
    gone: float | None = None
    """When its place was given back; None while it has it, or where nobody was left to say so."""
    farewell: Farewell | None = None


@dataclass
class Work:
    """The steps of one generation."""

    begin: float
    """Of the first one, waiting for its rows included."""
    end: float
    """Of the newest one."""
    spent: dict[Bucket, float] = field(default_factory=dict)
    """Seconds of each member between the two; they add up."""


@dataclass
class Attempt:
    begin: float
    """Its first sign of life, as `end` is its last."""
    end: float
    over: bool = False
    """Its end is on record."""
    workers: dict[str, WorkerLife] = field(default_factory=dict)
    generations: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Members by number, of those that formed, in order."""
    works: dict[int, Work] = field(default_factory=dict)
    """By generation, of those that did a step."""
    step_done: float = 0.0
    """When its newest step was."""
    evaluated: float = 0.0
    """When its newest evaluation was."""

    def lives_at(self, time_s: float) -> None:
        self.end = max(self.end, time_s)


class History:
    """All attempts of one run."""

    def __init__(self) -> None:
        self.attempts: dict[int, Attempt] = {}
        self.num_steps = 0
        """The newest step that was ever done."""
        self.num_repeated = 0
        self._attempt_of_points = 1

    @property
    def num_lost(self) -> int:
        """Workers that did not leave politely, of all attempts."""
        workers = (worker for attempt in self.attempts.values() for worker in attempt.workers.values())
        return sum(worker.farewell is Farewell.LOST for worker in workers)

    def event(self, record: Mapping[str, Any]) -> None:
        """Take a record of the journal of events."""
        time_s = datetime.fromisoformat(record["time"]).timestamp()
        attempt = self._attempt(record["attempt"], time_s)
        kind = record["kind"]
        if kind == EventKind.GENERATION_STARTED:
            attempt.generations[record["generation"]] = tuple(record["workers"])
        elif kind == EventKind.RUN_ENDED:
            attempt.over = True
        elif record.get("worker"):
            _of_a_worker(attempt, kind, record["worker"], time_s)

    def point(self, record: Mapping[str, Any]) -> None:
        """Take a record of the journal of metrics."""
        match record.get("kind"):
            case None:
                self._step(record)
            case "evaluation":
                attempt = self._attempt(self._attempt_of_points, record["time"])
                attempt.evaluated = record["time"]
            case "attempt":
                self._attempt_of_points = record["attempt"]
            case _:
                pass  # a rewind: what is done again shows by its number

    def _step(self, record: Mapping[str, Any]) -> None:
        attempt = self._attempt(self._attempt_of_points, record["time"])
        waited, held_up = record.get("input_wait_s", 0.0), record.get("checkpoint_wait_s", 0.0)
        end = max(record["time"], attempt.step_done)
        work = attempt.works.get(record["generation"])
        if work is None:
            begin = max(attempt.step_done, min(end, record["time"] - record["step_s"] - waited))
            work = attempt.works[record["generation"]] = Work(begin, begin)
        seconds = end - work.end
        waited = min(waited, seconds)
        held_up = min(held_up, seconds - waited)
        again = record["step"] <= self.num_steps
        for bucket, spent in (
            (Bucket.INPUT_WAIT, waited),
            (Bucket.CHECKPOINT, held_up),
            (Bucket.REPEATED if again else Bucket.PRODUCTIVE, seconds - waited - held_up),
        ):
            work.spent[bucket] = work.spent.get(bucket, 0.0) + spent
        work.end = attempt.step_done = end
        self.num_repeated += again
        self.num_steps = max(self.num_steps, record["step"])

    def _attempt(self, number: int, time_s: float) -> Attempt:
        attempt = self.attempts.get(number)
        if attempt is None:
            attempt = self.attempts[number] = Attempt(time_s, time_s)
        attempt.lives_at(time_s)
        return attempt


def _of_a_worker(attempt: Attempt, kind: str, name: str, time_s: float) -> None:
    if kind in (EventKind.WORKER_PLACED, EventKind.WORKER_STARTED):
        attempt.workers.setdefault(name, WorkerLife(time_s))
        return
    worker = attempt.workers.get(name)
    if worker is None:
        return  # it never had a place
    if kind == EventKind.WORKER_WARM:
        worker.warm = time_s
    elif kind == EventKind.WORKER_GONE:
        worker.gone = time_s
    elif kind in _FAREWELLS:
        worker.farewell = _FAREWELLS[EventKind(kind)]
        worker.gone = worker.gone or time_s
