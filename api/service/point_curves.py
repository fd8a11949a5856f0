"""Curves from a table of points: the same answers as `points.columns` gives from a list, by arithmetic on
whole columns."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.service.point_columns import Floats, present
from api.service.point_table import PointTable
from api.service.points_asked import Aggregate, Asked

Rows = NDArray[np.int64]


def curves(table: PointTable, asked: Asked) -> dict[str, list[Any]]:
    first, last = table.rows(asked.from_step, asked.to_step)
    count = min(last - first, asked.max_points)
    edges = np.arange(count + 1, dtype=np.int64) * (last - first) // max(count, 1)
    found: dict[str, list[Any]] = {"step": _steps(table, first, last, edges)}
    for name in asked.keys or table.shape.names[1:]:
        if name == "step":
            continue
        column = table.column(name, first, last)
        if column is not None:
            there = np.flatnonzero(present(column))
            if len(there) or asked.keys:
                integral = table.shape.integral[table.shape.names.index(name)]
                found[name] = _merged(column[there], there, edges, asked.aggregate, integral)
        elif asked.keys:
            found[name] = [None] * count
    return found


def _steps(table: PointTable, first: int, last: int, edges: Rows) -> list[int]:
    if len(edges) == 1:
        return []
    found: list[int] = table.columns.read(0, first, last)[edges[1:] - 1].astype(np.int64).tolist()
    return found


def _merged(values: Floats, rows: Rows, edges: Rows, aggregate: Aggregate, integral: bool) -> list[Any]:
    """One value of each group of rows between two edges; None for a group without any."""
    bounds = np.searchsorted(rows, edges)
    begins, ends = bounds[:-1], bounds[1:]
    full = np.flatnonzero(ends > begins)
    merged: list[Any] = [None] * len(begins)
    if not len(full):
        return merged
    chosen = _MERGES[aggregate](values, begins[full], ends[full])
    if aggregate is not Aggregate.LAST:
        _show_strange(values, begins[full], chosen)
    exact = integral and aggregate is not Aggregate.MEAN
    numbers: Sequence[Any] = (chosen.astype(np.int64) if exact else chosen).tolist()
    if len(full) == len(merged):
        return list(numbers)
    for group, number in zip(full.tolist(), numbers, strict=True):
        merged[group] = number
    return merged


def _show_strange(values: Floats, begins: Rows, chosen: Floats) -> None:
    """The first of a group that is not finite stands for it: it must not be lost in a chart."""
    strange = np.flatnonzero(~np.isfinite(values))
    groups, firsts = np.unique(np.searchsorted(begins, strange, side="right") - 1, return_index=True)
    chosen[groups] = values[strange[firsts]]


def _mean(values: Floats, begins: Rows, ends: Rows) -> Floats:
    plain = np.where(np.isfinite(values), values, 0.0).tolist()
    pairs = zip(begins.tolist(), ends.tolist(), strict=True)
    return np.array([math.fsum(plain[begin:end]) / (end - begin) for begin, end in pairs])


def _last(values: Floats, begins: Rows, ends: Rows) -> Floats:
    return values[ends - 1]


def _min(values: Floats, begins: Rows, ends: Rows) -> Floats:
    return np.minimum.reduceat(values, begins)


def _max(values: Floats, begins: Rows, ends: Rows) -> Floats:
    return np.maximum.reduceat(values, begins)


_MERGES: Final[dict[Aggregate, Callable[[Floats, Rows, Rows], Floats]]] = {
    Aggregate.LAST: _last,
    Aggregate.MEAN: _mean,
    Aggregate.MIN: _min,
    Aggregate.MAX: _max,
}
