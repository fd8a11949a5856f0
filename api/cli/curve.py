"""A metric over steps, drawn in braille: each character is two columns of four dots."""

import math
from collections.abc import Sequence
from typing import Final

from api.cli.output import number

_MOST_POINTS: Final = 4096
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""By column and row from the top, as Unicode numbers them."""
_BLANK: Final = 0x2800

Point = tuple[int, float]
"""Step and value."""


class Curve:
    """The points of one metric as they come; no more of them than a screen could tell apart."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def add(self, step: int, value: object) -> None:
        """A step that came before is measured again from there; what is no finite number has no dot."""
        self.back_to(step - 1)
        if isinstance(value, int | float) and math.isfinite(value):
            self.points.append((step, float(value)))
        if len(self.points) > _MOST_POINTS:
            del self.points[1:-1:2]

    def back_to(self, step: int) -> None:
        """Forget what came after a step."""
        while self.points and self.points[-1][0] > step:
            self.points.pop()


def drawn(points: Sequence[Point], width: int, height: int) -> list[str]:
    """`height` lines of at most `width` characters, the scale to the left, and the steps below.

    Nothing for fewer than two points, or where there is no room.
    """
    if len(points) < 2 or height < 1:
        return []
    values = [value for _, value in points]
    low, high = min(values), max(values)
    top, bottom = number(high), number(low)
    margin = max(len(top), len(bottom)) + 1
    columns = width - margin
    if columns < 4:
        return []
    cells = _cells(_levels(points, 2 * columns, low, high, 4 * height), columns, height)
    labels = [top, *[""] * (height - 2), bottom] if height > 1 else [bottom]
    lines = [f"{label:>{margin - 1}} {line}" for label, line in zip(labels, cells, strict=True)]
    first, last = f"step {points[0][0]}", str(points[-1][0])
    if len(first) + len(last) >= columns:
        return [*lines, f"{'':{margin}}{last:>{columns}}"]
    return [*lines, f"{'':{margin}}{first}{last:>{columns - len(first)}}"]


def _levels(points: Sequence[Point], columns: int, low: float, high: float, rows: int) -> list[int | None]:
    """For each column of dots the row, from the top, of the mean of its points; None where it has none."""
    first, last = points[0][0], points[-1][0]
    sums, counts = [0.0] * columns, [0] * columns
    for step, value in points:
        column = (step - first) * (columns - 1) // max(1, last - first)
        sums[column] += value
        counts[column] += 1
    scale = (rows - 1) / (high - low) if high > low else 0.0
    return [
        round((high - total / count) * scale) if count else None
        for total, count in zip(sums, counts, strict=True)
    ]


def _cells(levels: Sequence[int | None], columns: int, height: int) -> list[str]:
    """The dots as characters; neighbours are joined by a vertical line, gaps stay empty."""
    grid = [[_BLANK] * columns for _ in range(height)]
    before: int | None = None
    for column, level in enumerate(levels):
        if level is None:
            continue
        start = level if before is None else before + (level > before) - (level < before)
        for row in range(min(start, level), max(start, level) + 1):
            grid[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
        before = level
    return ["".join(map(chr, line)).rstrip(chr(_BLANK)) for line in grid]
