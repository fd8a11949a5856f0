"""Curves from a table of points: the same answers as `points.columns` gives from a list, by arithmetic on
whole columns."""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from api.service.point_columns import Floats, Rows, present
from api.service.point_table import PointTable
from api.service.points_asked import Aggregate, Asked


def curves(table: PointTable, asked: Asked) -> dict[str, list[Any]]:
    first, last = table.rows(asked.from_step, asked.to_step)
    count = min(last - first, asked.max_points)
    edges = np.arange(count + 1, dtype=np.int64) * (last - first) // max(count, 1)
    found: dict[str, list[Any]] = {"step": _column(table, "step", first, edges, Aggregate.LAST)}
    for name in asked.keys or table.shape.names[1:]:
        if name == "step":
            continue
        column = _column(table, name, first, edges, asked.aggregate)
        if asked.keys or any(value is not None for value in column):
            found[name] = column
    return found


def _column(table: PointTable, name: str, first: int, edges: Rows, aggregate: Aggregate) -> list[Any]:
    if name not in table.shape.names or len(edges) == 1:
        return [None] * (len(edges) - 1)
    number = table.shape.names.index(name)
    integral = table.shape.integral[number]
    if aggregate is Aggregate.LAST or len(edges) - 1 == edges[-1]:
        picked = table.columns.pick(number, first + edges[1:] - 1)
        if present(picked).all():
            return _shown(picked, integral)
    values = table.columns.read(number, first, first + int(edges[-1]))
    there = np.flatnonzero(present(values))
    return _merged(values[there], there, edges, aggregate, integral)


def _shown(values: Floats, integral: bool) -> list[Any]:
    shown: list[Any] = (values.astype(np.int64) if integral else values).tolist()
    return shown


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
    numbers = _shown(chosen, integral and aggregate is not Aggregate.MEAN)
    if len(full) == len(merged):
        return numbers
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
