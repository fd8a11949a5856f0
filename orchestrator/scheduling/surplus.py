"""The second half of a decision: who gets what is left when everybody has the fewest workers it needs.

All of it is given out anew in each round, one jump after the other to whom it is worth most. Whoever has it
already has a head start, so that nothing moves for a small gain.

The worth of a jump is what it adds to the mean of the runs' speed-ups: the power mean with p = -1, as in
Pollux (Qiao et al., OSDI 2021, section 4.2), which prefers those who have few workers to those who have many.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from orchestrator.domain.runs import Run
from orchestrator.scheduling.policy import Policy, Surplus
from orchestrator.scheduling.room import need_of
from orchestrator.scheduling.speed import relative_times
from orchestrator.scheduling.tally import Tally

_LONGEST_JUMP: Final = 16
_PRIORITY_DOUBLES_EACH: Final = 25
"""So many points of priority more make a worker worth twice as much."""
_WORTH_AT_LEAST: Final = 1e-9
"""What is left when nobody gets faster by it is given out, too: a spare worker is there when one is lost."""
_UNSETTLED: Final = 1.0
"""The head start of who got its workers a while ago."""
_Order = tuple[object, ...]


@dataclass
class Handout:
    """`workers` is what everybody has; giving out changes it and the tally."""

    tally: Tally
    policy: Policy
    workers: dict[str, int]
    """Run id -> with how many it begins."""
    before: Mapping[str, int]
    """Run id -> how many it had until now."""
    unsettled: frozenset[str]
    """Ids of those that got other workers a while ago."""
    _runs_of: dict[str, int] = field(default_factory=dict)
    """Queue -> how many runs share what it deserves."""

    def give(self, runs: Sequence[Run]) -> None:
        """To all of `runs`, up to their most."""
        heap: list[tuple[_Order, str, int, Run]] = []
        for run in runs:
            self._runs_of[run.queue] = self._runs_of.get(run.queue, 0) + 1
        for run in runs:
            self._offer(heap, run, run.workers_max - self.workers[run.id])
        while heap:
            order, _, size, run = heapq.heappop(heap)
            if self._order(run, size) != order:  # its queue got something meanwhile
                heapq.heappush(heap, (self._order(run, size), run.id, size, run))
                continue
            kept = self.workers[run.id] < self.before.get(run.id, 0)
            taken = self.tally.take_more(run, size, kept=kept)
            more = run.workers_max - self.workers[run.id] - taken
            if taken < size:
                more = 0
                if self.policy.surplus is Surplus.GOODPUT and taken:  # a part of a jump may be worth nothing
                    self.tally.give_back(run, taken)
                    taken, more = 0, taken
            self.workers[run.id] += taken
            self._offer(heap, run, more)

    def _offer(self, heap: list[tuple[_Order, str, int, Run]], run: Run, most: int) -> None:
        has, had = self.workers[run.id], self.before.get(run.id, 0)
        if has < had:
            most = min(most, had - has)
        if most > 0:
            size = self._jump(run, most)
            heapq.heappush(heap, (self._order(run, size), run.id, size, run))

    def _jump(self, run: Run, most: int) -> int:
        """How many workers at once are worth most, each: one more may be worth nothing, four much."""
        match self.policy.surplus:
            case Surplus.GOODPUT:
                sizes = range(1, min(most, _LONGEST_JUMP) + 1)
                return max(sizes, key=lambda size: (self._gain(run, size), -size))
            case Surplus.FAIR:
                return 1
            case Surplus.FIFO:
                return most

    def _gain(self, run: Run, size: int) -> float:
        """What part of the time of a step with one worker each of `size` more saves."""
        times, has = relative_times(run), self.workers[run.id]
        return max((times[has] - times[has + size]) / size, _WORTH_AT_LEAST)

    def _order(self, run: Run, size: int) -> _Order:
        """The least is first."""
        has = self.workers[run.id]
        kept = has < self.before.get(run.id, 0)
        since = run.started or run.created
        match self.policy.surplus:
            case Surplus.GOODPUT:
                head_start = _UNSETTLED if run.id in self.unsettled else self.policy.min_gain
                worth = self._worth(run, size) * (1 + head_start * kept)
                return (-round(worth, 15), has, not kept, since)
            case Surplus.FAIR:
                return (self.tally.share(run.queue), has * self.tally.part(need_of(run)), not kept, since)
            case Surplus.FIFO:
                return (since,)

    def _worth(self, run: Run, size: int) -> float:
        weight = self.tally.weight(run.queue) / self._runs_of[run.queue]
        weight *= 2 ** ((run.priority - 50) / _PRIORITY_DOUBLES_EACH)
        return weight * self._gain(run, size) / self.tally.part(need_of(run))
