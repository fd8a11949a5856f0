"""How much faster a run gets by more workers: measured where it trained, guessed where it did not yet.

The time of a step is a part that stays (reduction, optimizer, input) and a part that the workers share, whose
largest hand has ceil(shards / workers) of the logical shards: c + d * ceil(V / n) / V. Both parts are fitted
to what was measured by least squares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from orchestrator.domain.runs import Run
from orchestrator.domain.spec import RunSpec

_STAYS: Final = 0.1
"""The part of a step that more workers do not shorten, until two world sizes were measured."""


def relative_times(run: Run) -> Sequence[float]:
    """At n: the time of a step with n workers, where it is 1 with one worker; up to `workers_max`."""
    measured = tuple(sorted(run.progress.step_s.items()))
    return _relative_times(measured, num_shards(run), run.workers_max)


def resizes(run: Run) -> bool:
    """Whether it follows another target while it trains; a run of the user's own loop does not."""
    return _traits(run.spec_json)[0]


def num_shards(run: Run) -> int:
    return _traits(run.spec_json)[1]


@dataclass(frozen=True)
class End:
    """When a run will have done its last step."""

    in_s: float
    run: Run


def ends_of(runs: Sequence[Run]) -> list[End]:
    """Of those of which it is known; the first one first."""
    known = [End(left_s, run) for run in runs if (left_s := ends_in_s(run)) is not None]
    return sorted(known, key=lambda end: (end.in_s, end.run.id))


def ends_in_s(run: Run) -> float | None:
    """When it will have done its last step, at its present pace; None where nobody knows."""
    progress = run.progress
    step_s = progress.step_s.get(progress.workers)
    if step_s is None or progress.total_steps is None:
        return None
    return max(0, progress.total_steps - progress.step) * step_s


def fit(measured: Mapping[int, float], shards: int) -> tuple[float, float]:
    """(c, d) of the time of a step; neither is negative. A guess until two different hands were measured."""
    points = [(_hand(workers, shards), seconds) for workers, seconds in measured.items()]
    if len({x for x, _ in points}) < 2:
        return _STAYS, 1.0 - _STAYS
    mean_x = sum(x for x, _ in points) / len(points)
    mean_t = sum(t for _, t in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    d = sum((x - mean_x) * (t - mean_t) for x, t in points) / spread
    c = mean_t - d * mean_x
    if d < 0:
        return mean_t, 0.0
    if c < 0:
        return 0.0, sum(x * t for x, t in points) / sum(x * x for x, _ in points)
    return c, d


def _hand(workers: int, shards: int) -> float:
    return -(-shards // workers) / shards


@lru_cache(maxsize=4096)
def _relative_times(measured: tuple[tuple[int, float], ...], shards: int, most: int) -> tuple[float, ...]:
    c, d = fit(dict(measured), shards)
    return (float("inf"), *((c + d * _hand(workers, shards)) / (c + d) for workers in range(1, most + 1)))


@lru_cache(maxsize=4096)
def _traits(spec_json: str) -> tuple[bool, int]:
    spec = RunSpec.model_validate_json(spec_json)
    return spec.task is not None, spec.train.logical_shards
