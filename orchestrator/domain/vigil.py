"""When a worker counts as hung: it is late while all others wait, by the measure of the phase it is in.

Pure state: the controller tells the vigil what it hears and what the clock shows, and acts on what it finds.
While steps are reported nobody is asked for anything. When it has been quiet for longer than a step takes,
every member is asked for its pulse; a frozen one does not answer, a stuck one says that it has not moved.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Final

LOOK_EVERY_S: Final = 0.25
"""How often the vigil is to be told the time."""
_STALLED_S: Final = 1.0
"""Between two looks: whoever was late then, it was the controller."""
_SILENT_S: Final = 1.5
"""Without an answer to a question for this long a worker is silent."""
_FRESH_S: Final = 1.5
_SLACK_S: Final = 2.0
_UNKNOWN_S: Final = 120.0
"""Patience with a phase that nobody has been through yet, and with one who keeps nobody waiting."""
_PHASE_SLACK_S: Final = 10.0
_UNKNOWN_STORAGE_S: Final = 600.0
_STORAGE_SLACK_S: Final = 60.0
_BUSY_S: Final = 60.0
_BUSY_TIMES: Final = 10.0
_STRIKE_TIMES: Final = 4.0
_KEEP_STEPS: Final = 32


class Phase(StrEnum):
    """What a worker's training thread is doing."""

    START = "start"
    MEET = "meet"
    """It waits for the members of its generation, and agrees with them on the state."""
    RESTORE = "restore"
    FIRST_STEP = "first step"
    """Of a process: things are compiled and allocated."""
    STEP = "step"
    EVALUATE = "evaluate"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Pulse:
    """What a worker says of its training thread when it is asked."""

    phase: Phase
    waiting: bool
    """For other members, and for nothing else."""
    still_s: float
    """Since it last entered a phase, began a logical shard, or began or ended to wait."""
    cpu_s: float
    """What the thread computed in that time."""

    @property
    def busy(self) -> bool:
        """It computes: slow perhaps, on a machine under load, but not stuck in a lock."""
        return self.cpu_s > max(0.02, 0.02 * self.still_s)


@dataclass(frozen=True)
class Hung:
    """A worker to be ended."""

    worker_id: str
    phase: Phase
    late_s: float
    """Since it, or the group, was last seen to move."""
    silent: bool
    """It does not even answer."""


@dataclass
class Vigil:
    """`bound_s` is a fixed patience for every phase; None follows the run's own pace."""

    bound_s: float | None
    start_timeout_s: float
    _members: tuple[str, ...] = ()
    _phases: dict[str, tuple[Phase, float]] = field(default_factory=dict)
    """What each member last said to be in, and since when."""
    _longest: dict[Phase, float] = field(default_factory=dict)
    _starting: dict[str, float] = field(default_factory=dict)
    _steps: deque[float] = field(default_factory=lambda: deque(maxlen=_KEEP_STEPS))
    _moved_at: float = 0.0
    _asked: dict[str, float] = field(default_factory=dict)
    _answers: dict[str, tuple[float, Pulse]] = field(default_factory=dict)
    _looked_at: float | None = None
    _strikes: int = 0
    """Workers in a row that were found to hang at one step: each makes the vigil more patient."""

    # what is heard

    def starting(self, worker_id: str, now: float) -> None:
        self._starting[worker_id] = now

    def warm(self, worker_id: str, now: float) -> None:
        begun = self._starting.pop(worker_id, None)
        if begun is not None:
            self._took(Phase.START, now - begun)
        self._phases[worker_id] = (Phase.MEET, now)

    def gone(self, worker_id: str) -> None:
        for known in (self._starting, self._phases, self._asked, self._answers):
            known.pop(worker_id, None)
        self._members = tuple(member for member in self._members if member != worker_id)

    def offered(self, members: Sequence[str], now: float) -> None:
        """A generation was published."""
        self._members = tuple(members)
        self._moved(now)

    def entered(self, worker_id: str, phase: Phase, now: float) -> None:
        """A worker said that it begins a phase that may take long, or that it is through with it."""
        before, since = self._phases.get(worker_id, (None, now))
        if before is not None and before is not phase:
            self._took(before, now - since)
        if before is not phase:
            self._phases[worker_id] = (phase, now)
        self._moved(now)

    def heard(self, now: float, step_s: Iterable[float] = ()) -> None:
        """The group reported something; `step_s` of each step that it did."""
        steps = list(step_s)
        self._steps.extend(steps)
        if steps:
            self._strikes = 0
        self._moved(now)

    def answered(self, worker_id: str, pulse: Pulse, now: float) -> None:
        self._asked.pop(worker_id, None)
        self._answers[worker_id] = (now, pulse)

    # what follows

    def to_ask(self, now: float) -> list[str]:
        """The members that are to be asked for their pulse now; they count as asked."""
        if now - self._moved_at < self._quiet_s():
            return []
        ask = [
            worker
            for worker in self._members
            if worker not in self._asked and now - self._answers.get(worker, (-1.0,))[0] > 2 * LOOK_EVERY_S
        ]
        self._asked.update(dict.fromkeys(ask, now))
        return ask

    def look(self, now: float) -> list[Hung]:
        """Who hangs, by all that is known. A controller that was itself away for a while blames nobody."""
        stalled = self._looked_at is not None and now - self._looked_at > _STALLED_S
        away_s = now - (self._looked_at or now)
        self._looked_at = now
        if stalled:
            self._starting = {worker: since + away_s for worker, since in self._starting.items()}
            self._moved(now)
            self._asked = dict.fromkeys(self._asked, now)
            return []
        found = [*self._late_starters(now), *self._late_members(now)]
        self._strikes += bool(found)
        return found

    def _late_starters(self, now: float) -> list[Hung]:
        known = self._longest.get(Phase.START)
        limit = self.start_timeout_s if known is None else min(self.start_timeout_s, 3 * known + 30.0)
        return [
            Hung(worker, Phase.START, now - since, silent=False)
            for worker, since in self._starting.items()
            if now - since > limit
        ]

    def _late_members(self, now: float) -> list[Hung]:
        if now - self._moved_at < self._quiet_s():
            return []
        late: list[Hung] = []
        num_waiting = 0
        for worker in self._members:
            at, pulse = self._answers.get(worker, (-1.0, None))
            if pulse is not None and at > self._moved_at and now - at < _FRESH_S:
                if pulse.waiting:
                    num_waiting += 1
                    continue
                hung = Hung(worker, pulse.phase, pulse.still_s + now - at, silent=False)
                limit = self._limit(pulse.phase, max(self._steps, default=None), busy=pulse.busy)
            else:
                if now - self._asked.get(worker, now) < _SILENT_S:
                    return []  # it may still answer
                phase = self._phases.get(worker, (Phase.STEP, now))[0]
                hung = Hung(worker, phase, now - max(self._moved_at, at), silent=True)
                limit = self._limit(phase, self._step_s, busy=False)
            if hung.late_s < limit:
                return []  # it may come; the others wait for it, or will
            late.append(hung)
        if not num_waiting and any(hung.late_s < _UNKNOWN_S for hung in late):
            return []  # it keeps nobody waiting
        return late

    @property
    def _step_s(self) -> float | None:
        return median(self._steps) if self._steps else None

    def _quiet_s(self) -> float:
        return max(0.5, 1.2 * (self._step_s or 0.0))

    def _limit(self, phase: Phase, step_s: float | None, *, busy: bool) -> float:
        """How long one may stay without a move before it is hung."""
        if self.bound_s is not None:
            return self.bound_s
        if phase in (Phase.STEP, Phase.MEET):
            limit = _UNKNOWN_S if step_s is None else 2 * step_s + _SLACK_S
        else:
            slow_disk = phase in (Phase.CHECKPOINT, Phase.RESTORE)
            longest = self._longest.get(phase)
            if longest is None:
                limit = _UNKNOWN_STORAGE_S if slow_disk else _UNKNOWN_S
            else:
                limit = 3 * longest + (_STORAGE_SLACK_S if slow_disk else _PHASE_SLACK_S)
        if busy:
            limit = max(_BUSY_S, _BUSY_TIMES * limit)
        return limit * _STRIKE_TIMES**self._strikes

    def _took(self, phase: Phase, seconds: float) -> None:
        self._longest[phase] = max(seconds, self._longest.get(phase, 0.0))

    def _moved(self, now: float) -> None:
        self._moved_at = now
        self._asked.clear()
        self._answers.clear()
