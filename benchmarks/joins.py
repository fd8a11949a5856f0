"""What the survivors felt when a replacement joined."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.shared_steps import Fault, SharedStep

LEAST_ALLOWANCE_S = 0.25
STEPS_ALLOWED = 2
STEPS_BEFORE, STEPS_AFTER = 2, 3
"""Steps around the switch among which the largest gap is the pause."""
STEPS_THAT_ARE_NORMAL = 10


@dataclass(frozen=True)
class Join:
    """One generation that took in newcomers and lost nobody."""

    pause_s: float
    """The largest gap between two steps around the join, less a normal step."""
    step_s: float
    """A normal step at the new size: the median of the first ten."""
    copy_s: float
    """The measured time to copy the state."""

    @property
    def allowance_s(self) -> float:
        return max(LEAST_ALLOWANCE_S, STEPS_ALLOWED * self.step_s) + self.copy_s


def joins_of(
    generations: Sequence[Mapping[str, Any]], shared: Sequence[SharedStep], faults: Sequence[Fault]
) -> list[Join]:
    """The joins among the `generation-started` events of a run, without those that a fault fell into."""
    done_at = {step.step: step.t for step in shared}
    kills = [fault.t for fault in faults]
    joins = []
    for before, event in itertools.pairwise(generations):
        if not set(before["workers"]) < set(event["workers"]):
            continue
        join = join_at(event["step"], event["copy_s"], done_at, kills)
        if join is not None:
            joins.append(join)
    return joins


def join_at(step: int, copy_s: float, done_at: Mapping[int, float], kills: Sequence[float]) -> Join | None:
    """What a change of members after a step cost; None where the log is too short or a kill fell into it."""
    around = range(step - STEPS_BEFORE, step + STEPS_AFTER + 1)
    after = range(step + 1, step + 2 + STEPS_THAT_ARE_NORMAL)
    if not all(number in done_at for number in around):
        return None
    if any(done_at[around[0]] <= kill <= done_at[around[-1]] for kill in kills):
        return None
    normal_s = statistics.median(_gaps(after, done_at))
    return Join(max(_gaps(around, done_at)) - normal_s, normal_s, copy_s)


def _gaps(numbers: Sequence[int], done_at: Mapping[int, float]) -> list[float]:
    """Seconds between neighbours, as far as the log goes."""
    ends = [done_at[number] for number in numbers if number in done_at]
    return [later - earlier for earlier, later in itertools.pairwise(ends)]
