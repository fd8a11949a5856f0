"""Histories of runs that never were, as records of their journals."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.domain.events import EventKind, event
from orchestrator.domain.goodput import RunGoodput, run_goodput
from orchestrator.domain.goodput_history import Bucket, History

CREATED = 1_700_000_000.0


@dataclass
class Told:
    """A run that is told second by second; times are seconds since it was made."""

    minimum: int = 1
    history: History = field(default_factory=History)
    attempt: int = 1
    generation: int = 0

    def event(self, time_s: float, kind: EventKind, **facts: Any) -> None:
        now = datetime.fromtimestamp(round(CREATED + time_s, 3), UTC)
        self.history.event(event(kind, "it happened", now=now, attempt=self.attempt, **facts))

    def placed(self, time_s: float, *workers: str) -> None:
        for worker in workers:
            self.event(time_s, EventKind.WORKER_PLACED, worker=worker)

    def warm(self, time_s: float, *workers: str) -> None:
        for worker in workers:
            self.event(time_s, EventKind.WORKER_WARM, worker=worker)

    def formed(self, time_s: float, *workers: str) -> None:
        self.generation += 1
        self.event(time_s, EventKind.GENERATION_STARTED, generation=self.generation, workers=list(workers))

    def gone(self, time_s: float, worker: str, kind: EventKind | None = None) -> None:
        if kind is not None:
            self.event(time_s, kind, worker=worker)
        self.event(time_s, EventKind.WORKER_GONE, worker=worker)

    def step(self, number: int, time_s: float, step_s: float = 1.0, **metrics: float) -> None:
        self.history.point(
            {
                "step": number,
                "time": CREATED + time_s,
                "step_s": step_s,
                "generation": self.generation,
                **metrics,
            }
        )

    def evaluated(self, time_s: float) -> None:
        self.history.point({"kind": "evaluation", "step": 1, "time": CREATED + time_s})

    def ended(self, time_s: float) -> None:
        self.event(time_s, EventKind.RUN_ENDED)

    def next_attempt(self) -> None:
        self.attempt += 1
        self.generation = 0
        self.history.point({"kind": "attempt", "attempt": self.attempt, "step": 0})

    def goodput(self, *, over: bool = True) -> RunGoodput:
        return run_goodput("otter", self.history, CREATED, minimum=self.minimum, over=over)

    def buckets(self, *, over: bool = True) -> dict[Bucket, float]:
        """Those that are not empty, to the millisecond."""
        found = self.goodput(over=over).buckets
        return {bucket: round(seconds, 3) for bucket, seconds in found.items() if round(seconds, 3)}


def two_workers() -> Told:
    """Placed at 10, warm at 13 and 14; step n done at 15 + n."""
    told = Told()
    told.event(0.5, EventKind.RUN_STARTED)
    told.placed(10, "w1", "w2")
    told.warm(13, "w1")
    told.warm(14, "w2")
    told.formed(14.5, "w1", "w2")
    return told


class RandomRun:
    """Anything that may happen, in any order, with clocks that differ."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.told = Told(minimum=self._rng.randint(1, 3))
        self.granted = 0.0
        """Worker-seconds by the places, counted while the run was told."""
        self._now = 0.0
        self._num_workers = 0
        for attempt in range(self._rng.randint(1, 3)):
            if attempt:
                self.told.next_attempt()
            self._attempt()

    def _attempt(self) -> None:
        rng, told = self._rng, self.told
        told.event(self._now, EventKind.RUN_STARTED)
        self._living: dict[str, float] = {}
        kinds = (self._place, self._warm, self._form, self._step, self._step, self._step, self._leave)
        for _ in range(rng.randint(0, 80)):
            self._pass(rng.choice((0.0, 0.01, 0.3, 2.0)) * rng.random())
            rng.choice(kinds)()
        if rng.random() < 0.5:
            told.ended(self._now)
        else:
            told.event(self._now, EventKind.EVALUATED)  # a step is dated by another clock
        self.granted += sum(self._now - placed for placed in self._living.values())
        self._pass(rng.random())

    def _pass(self, seconds: float) -> None:
        """Events are dated to the millisecond."""
        self._now = round(self._now + seconds, 3)

    def _place(self) -> None:
        self._num_workers += 1
        self._living[f"w{self._num_workers}"] = self._now
        self.told.placed(self._now, f"w{self._num_workers}")

    def _warm(self) -> None:
        self.told.warm(self._now, *self._rng.sample(list(self._living), min(1, len(self._living))))

    def _form(self) -> None:
        if self._living:
            count = self._rng.randint(1, len(self._living))
            self.told.formed(self._now, *self._rng.sample(list(self._living), count))

    def _step(self) -> None:
        rng, told = self._rng, self.told
        if told.generation:
            waits = {"input_wait_s": 0.5 * rng.random(), "checkpoint_wait_s": 0.5 * rng.random()}
            number = max(1, told.history.num_steps + rng.choice((1, 1, 1, 0, -2)))
            told.step(number, self._now - rng.uniform(0.0, 0.2), rng.random(), **waits)

    def _leave(self) -> None:
        if self._living:
            worker = self._rng.choice(list(self._living))
            self.granted += self._now - self._living.pop(worker)
            kinds = (EventKind.WORKER_LOST, EventKind.WORKER_RETIRED, EventKind.USER_ERROR, None)
            self.told.gone(self._now, worker, self._rng.choice(kinds))
