"""The points of a run as columns, made from the records of its metrics journal a batch at a time.

The same that `api.history.read_points` makes of all records at once: a step that is done again replaces the
point, a rewind undoes what came after it, and an evaluation adds to the point of its step.
"""

from bisect import bisect_left
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
            self.shape.count = self.row_of(batch.cut + 1)
            last = self.last_step()
        steps = sorted(batch.points)
        for step in steps:
            if step > last:
                break
            self._put(step, *batch.points[step], before_rewriting)
        self._append([batch.points[step][1] for step in steps if step > last])

    def last_step(self) -> float:
        count = self.shape.count
        return self._step_at(count - 1) if count else float("-inf")

    def rows(self, from_step: int, to_step: int | None) -> tuple[int, int]:
        """The half-open range of rows between two steps, both included."""
        first = self.row_of(from_step)
        return first, max(first, self.shape.count if to_step is None else self.row_of(to_step + 1))

    def row_of(self, step: int) -> int:
        """The first row that is not before the step."""
        return bisect_left(range(self.shape.count), float(step), key=self._step_at)

    def moved_to(self, columns: Columns) -> "PointTable":
        """The same in other columns."""
        for number in range(len(self.shape.names)):
            columns.write(number, 0, self.columns.read(number, 0, self.shape.count))
        return PointTable(columns, self.shape)

    def _step_at(self, row: int) -> float:
        return float(self.columns.pick(0, np.array([row]))[0])

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
        row = self.shape.count - 1 if newest else self.row_of(step)
        there = self._step_at(row) == step
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
