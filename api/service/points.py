"""Metric points for a chart: columns, with no more rows than asked for."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from api.history import Point, read_points
from orchestrator.domain.disk import storage_errors
from orchestrator.domain.run_directory import RunDirectory

_MOST_RUNS: Final = 4
_MOST_POINTS: Final = 20_000
"""Runs with more are read anew each time: what is kept must not grow the service."""


class Aggregate(StrEnum):
    LAST = "last"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"


class PointCache:
    """The points of the runs that were asked for last, as long as their journal does not change."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, tuple[object, list[Point]]] = OrderedDict()

    def points(self, run: RunDirectory) -> list[Point]:
        """In the order of their steps; blocks. Raises StorageError."""
        state = _state(run)
        known = self._kept.get(run.path)
        if known is not None and known[0] == state:
            return known[1]
        points = read_points(run)
        if len(points) <= _MOST_POINTS:
            self._kept[run.path] = (state, points)
            while len(self._kept) > _MOST_RUNS:
                self._kept.popitem(last=False)
        return points


def columns(
    points: Sequence[Point],
    keys: Sequence[str],
    *,
    from_step: int = 0,
    to_step: int | None = None,
    max_points: int,
    aggregate: Aggregate,
) -> dict[str, list[Any]]:
    """`step` and each key (all of them where none is named), None where a step has no such value.

    Where there are too many points, neighbours become one at the step of the last of them.
    """
    last = math.inf if to_step is None else to_step
    wanted = [point for point in points if from_step <= point["step"] <= last]
    names = list(keys) or [name for name in dict.fromkeys(n for p in wanted for n in p) if name != "step"]
    groups = _groups(wanted, max_points)
    merge = _MERGES[aggregate]
    return {
        "step": [group[-1]["step"] for group in groups],
        **{
            name: [merge([p[name] for p in group if p.get(name) is not None]) for group in groups]
            for name in names
            if name != "step"
        },
    }


def _groups(points: Sequence[Point], max_points: int) -> list[Sequence[Point]]:
    count = min(len(points), max_points)
    edges = [index * len(points) // count for index in range(count + 1)] if count else [0]
    return [points[edges[index] : edges[index + 1]] for index in range(count)]


def _numbers(merge: Callable[[list[float]], float]) -> Callable[[list[Any]], Any]:
    """One that is not finite shows in the whole group: it must not be lost in a chart."""

    def merged(values: list[Any]) -> Any:
        numbers = [value for value in values if isinstance(value, int | float)]
        if not numbers:
            return values[-1] if values else None
        strange = next((value for value in numbers if not math.isfinite(value)), None)
        return merge(numbers) if strange is None else strange

    return merged


_MERGES: Final[dict[Aggregate, Callable[[list[Any]], Any]]] = {
    Aggregate.LAST: lambda values: values[-1] if values else None,
    Aggregate.MEAN: _numbers(lambda values: math.fsum(values) / len(values)),
    Aggregate.MIN: _numbers(min),
    Aggregate.MAX: _numbers(max),
}


def _state(run: RunDirectory) -> object:
    """Changes with each record."""
    with storage_errors("read", run.outbox):
        stats = [(path.name, path.stat()) for path in sorted(run.outbox.glob("metrics-*.jsonl"))]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
