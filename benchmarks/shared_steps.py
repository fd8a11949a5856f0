"""Steps that a whole group applied, put together from the logs of its members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.steps import Step, StepReader


@dataclass(frozen=True)
class SharedStep:
    """A step that every member of a group applied."""

    t: float
    """Seconds since the Unix epoch at which the last of them had."""
    step: int
    pids: tuple[int, ...]
    """By rank."""


class StepLogs:
    """Follows a folder of step logs, one per worker, which may come and stop growing at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._readers: dict[Path, StepReader] = {}
        self._seen: dict[tuple[int, int], dict[int, Step]] = {}
        self._shared: dict[tuple[int, int], SharedStep] = {}

    def refresh(self) -> None:
        for path in self._folder.glob("*.jsonl"):
            reader = self._readers.setdefault(path, StepReader(path))
            num_known = len(reader.steps)
            for step in reader.refresh()[num_known:]:
                self._take(step)

    @property
    def shared(self) -> list[SharedStep]:
        """What is known so far, by time. A step done twice by groups of one size counts as done later."""
        return sorted(self._shared.values(), key=lambda shared: shared.t)

    @property
    def newest(self) -> SharedStep | None:
        """The newest step of the newest group."""
        return max(self._shared.values(), key=lambda shared: shared.t, default=None)

    def _take(self, step: Step) -> None:
        key = (step.step, step.world)
        ranks = self._seen.setdefault(key, {})
        known = ranks.get(step.rank)
        if known is not None and known.t > step.t:
            return
        ranks[step.rank] = step
        if len(ranks) == step.world:
            pids = tuple(ranks[rank].pid for rank in range(step.world))
            self._shared[key] = SharedStep(max(seen.t for seen in ranks.values()), step.step, pids)


@dataclass(frozen=True)
class Fault:
    """One or more SIGKILLs sent at once."""

    kind: str
    t: float
    """Seconds since the Unix epoch, taken just before the first signal."""
    victims: tuple[int, ...]
    """Process ids; not all of them need be members."""
    members: tuple[int, ...]
    """Process ids of the group that trained when it happened, by rank."""
    full: int
    """How many members the run has at full strength."""


@dataclass(frozen=True)
class Cost:
    """What one fault cost."""

    kill_to_next_step_s: float
    """To the end of the next step that all members of the group after it applied."""
    kill_to_full_strength_s: float | None
    """None where another fault came before."""
    survivors_lost: int
    """Members that were not killed and took no part in that step under their process id."""


def cost_of(fault: Fault, shared: Sequence[SharedStep], until: float) -> Cost | None:
    """What a fault cost, if the next one came at the time `until`; None where no step followed it."""
    victims = set(fault.victims)
    after = [step for step in shared if step.t > fault.t and not victims & set(step.pids)]
    if not after:
        return None
    full = [step.t - fault.t for step in after if step.t <= until and len(step.pids) == fault.full]
    return Cost(
        kill_to_next_step_s=after[0].t - fault.t,
        kill_to_full_strength_s=full[0] if full else None,
        survivors_lost=len(set(fault.members) - victims - set(after[0].pids)),
    )
