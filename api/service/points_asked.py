"""Which points are asked for, and the answer from a list of them: columns, no longer than asked for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from api.history import Point


class Aggregate(StrEnum):
    LAST = "last"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True)
class Asked:
    keys: tuple[str, ...] = ()
    """All there are where none is named."""
    from_step: int = 0
    to_step: int | None = None
    """The last one; None for no end."""
    max_points: int = 1000
    aggregate: Aggregate = Aggregate.LAST


def columns(points: Sequence[Point], asked: Asked) -> dict[str, list[Any]]:
    """`step` and each key (all of them where none is named), None where a step has no such value.

    Where there are too many points, neighbours become one at the step of the last of them.
    """
    last = math.inf if asked.to_step is None else asked.to_step
    wanted = [point for point in points if asked.from_step <= point["step"] <= last]
    names = list(asked.keys) or [
        name for name in dict.fromkeys(n for p in wanted for n in p) if name != "step"
    ]
    groups = _groups(wanted, asked.max_points)
    merge = _MERGES[asked.aggregate]
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
