"""Which checkpoints are kept: the last ones, one every so many steps, and the best."""

import math
from collections.abc import Mapping, Sequence

from orchestrator.domain.spec_parts import KeepBest


def to_drop(
    committed: Sequence[tuple[int, Mapping[str, float]]],
    *,
    keep_last: int,
    keep_every: int | None = None,
    keep_best: KeepBest | None = None,
) -> list[int]:
    """The steps to remove, the oldest first; never the newest. `committed` is (step, its metrics)."""
    steps = sorted(step for step, _ in committed)
    kept = set(steps[-max(1, keep_last) :])
    if keep_every is not None:
        kept.update(step for step in steps if step % keep_every == 0)
    if keep_best is not None:
        found = best(committed, keep_best)
        kept.update(() if found is None else (found,))
    return [step for step in steps if step not in kept]


def best(committed: Sequence[tuple[int, Mapping[str, float]]], by: KeepBest) -> int | None:
    """The step with the best value of the metric, the newer one of equals; None where no value is finite."""
    sign = -1 if by.mode == "min" else 1
    candidates = [
        (sign * metrics[by.metric], step)
        for step, metrics in committed
        if math.isfinite(metrics.get(by.metric, math.nan))
    ]
    return max(candidates)[1] if candidates else None
