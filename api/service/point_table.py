"""The points of a run as columns, made from the records of its metrics journal a batch at a time.

The same that `api.history.read_points` makes of all records at once: a step that is done again replaces the
point, a rewind undoes what came after it, and an evaluation adds to the point of its step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np

from api.history import metrics_of
from api.service.point_columns import ABSENT, Columns, Floats, present

_STEP: Final = "step"
_EXACT: Final = 2**53
"""Beyond it a float does not tell every integer."""
_ROWS_AT_ONCE: Final = 1 << 16


class NotNumbers(ValueError):
    """A point holds what no column of numbers can; such a journal is read as it is."""


@dataclass
class Shape:
    """What a table is besides its columns."""

    count: int = 0
    names: list[str] = field(default_factory=lambda: [_STEP])
    """By number of the column."""
    integral: list[bool] = field(default_factory=lambda: [True])
    """Of each: it holds integers only."""


@dataclass
class _Batch:
    """What some records come to."""

    cut: int | None = None
    """Points after this step are undone first."""
    points: dict[int, tuple[bool, Mapping[str, Any]]] = field(default_factory=dict)
    """Step -> (whether it replaces the point that is there, values)."""

    def take(self, record: Mapping[str, Any]) -> None:
        step = record[_STEP]
        match record.get("kind"):
            case None:
                self.points[step] = True, record
            case "rewind":
                self.cut = step if self.cut is None else min(step, self.cut)
                self.points = {known: point for known, point in self.points.items() if known <= step}
            case "evaluation":
                whole, values = self.points.get(step, (False, {_STEP: step}))
                self.points[step] = whole, {**values, **metrics_of(dict(record))}
            case _:
                pass  # a note of a later version


class PointTable:
    """For one thread at a time."""

    def __init__(self, columns: Columns, shape: Shape | None = None) -> None:
        self.columns = columns
        self.shape = shape or Shape()

    def take(self, records: Sequence[Mapping[str, Any]], before_rewriting: Callable[[], None]) -> None:
        """Add what comes next in the journal; `before_rewriting` is called before a point that is there is
        moved or removed. Raises NotNumbers, and the table is spoilt then."""
        batch = _Batch()
        for record in records:
            batch.take(record)
        last = self.last_step()
        if batch.cut is not None and batch.cut < last:
            before_rewriting()
            self.shape.count = int(np.searchsorted(self._steps(), batch.cut, side="right"))
            last = self.last_step()
        steps = sorted(batch.points)
        for step in steps:
            if step > last:
                break
            self._put(step, *batch.points[step], before_rewriting)
        self._append([batch.points[step][1] for step in steps if step > last])

    def last_step(self) -> float:
        count = self.shape.count
        return float(self.columns.read(0, count - 1, count)[0]) if count else float("-inf")

    def column(self, name: str, first: int, last: int) -> Floats | None:
        """None for one that there is not."""
        if name not in self.shape.names:
            return None
        return self.columns.read(self.shape.names.index(name), first, last)

    def rows(self, from_step: int, to_step: int | None) -> tuple[int, int]:
        """The half-open range of rows between two steps, both included."""
        steps = self._steps()
        first = int(np.searchsorted(steps, from_step))
        last = len(steps) if to_step is None else int(np.searchsorted(steps, to_step, side="right"))
        return first, max(first, last)

    def moved_to(self, columns: Columns) -> "PointTable":
        """The same in other columns."""
        for number in range(len(self.shape.names)):
            columns.write(number, 0, self.columns.read(number, 0, self.shape.count))
        return PointTable(columns, self.shape)

    def _steps(self) -> Floats:
        if not self.shape.count:
            return np.empty(0)
        return self.columns.read(0, 0, self.shape.count)

    def _append(self, points: Sequence[Mapping[str, Any]]) -> None:
        if not points:
            return
        self._know(dict.fromkeys(chain.from_iterable(points)))
        for number, name in enumerate(self.shape.names):
            values = self._checked(number, [point.get(name) for point in points])
            self.columns.write(number, self.shape.count, values)
        self.shape.count += len(points)

    def _put(
        self, step: int, whole: bool, values: Mapping[str, Any], before_rewriting: Callable[[], None]
    ) -> None:
        """At a step that is not after all others."""
        self._know(values)
        newest = step == self.last_step()  # as an evaluation mostly is
        row = self.shape.count - 1 if newest else int(np.searchsorted(self._steps(), step))
        there = self.columns.read(0, row, row + 1)[0] == step
        if not there:
            before_rewriting()
            for number in range(len(self.shape.names)):
                self.columns.write(number, row + 1, self.columns.read(number, row, self.shape.count).copy())
            self.shape.count += 1
        for number, name in enumerate(self.shape.names):
            if name in values or whole or not there:
                self.columns.write(number, row, self._checked(number, [values.get(name)]))

    def _know(self, names: Mapping[str, object]) -> None:
        for name in names:
            if name not in self.shape.names and name not in ("seq", "kind"):
                number = len(self.shape.names)
                for first in range(0, self.shape.count, _ROWS_AT_ONCE):
                    some = min(_ROWS_AT_ONCE, self.shape.count - first)
                    self.columns.write(number, first, np.full(some, ABSENT))
                self.shape.names.append(name)
                self.shape.integral.append(True)

    def _checked(self, number: int, values: Sequence[Any]) -> Floats:
        types = set(map(type, values)) - {type(None)}
        if not types <= {int, float} or (number == 0 and types != {int}):
            raise NotNumbers(f"{self.shape.names[number]} is not of numbers")
        if float in types:
            self.shape.integral[number] = False
        numbers = np.array([ABSENT if value is None else value for value in values], np.float64)
        if int in types and bool(np.any(np.abs(numbers[present(numbers)]) >= _EXACT)):
            raise NotNumbers(f"{self.shape.names[number]} is too large")
        return numbers
