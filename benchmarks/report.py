"""What a benchmark hands back, and the two statistics it is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from benchmarks.machine import describe_machine


@dataclass(frozen=True)
class Bar:
    """A promise with a number: `value` was measured, `limit` is what it must keep to."""

    bar: str
    limit: float
    value: float
    unit: str
    ok: bool

    @classmethod
    def at_most(cls, bar: str, value: float, limit: float, unit: str) -> Self:
        return cls(bar, limit, value, unit, ok=value <= limit)

    @classmethod
    def at_least(cls, bar: str, value: float, limit: float, unit: str) -> Self:
        return cls(bar, limit, value, unit, ok=value >= limit)


@dataclass(frozen=True)
class Report:
    """One benchmark: Tumbler's figures, those of its peers from the same minutes, and the bars."""

    name: str
    results: Mapping[str, Any]
    peers: Mapping[str, Mapping[str, Any]]
    bars: Sequence[Bar]
    machine: Mapping[str, Any] = field(default_factory=describe_machine)

    @property
    def ok(self) -> bool:
        return all(bar.ok for bar in self.bars)

    def to_json(self) -> str:
        """The report as one line of JSON."""
        facts = {
            "name": self.name,
            "machine": self.machine,
            "results": self.results,
            "peers": self.peers,
            "bars": [asdict(bar) for bar in self.bars],
            "ok": self.ok,
        }
        return json.dumps(facts, allow_nan=False)


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile, 0 <= q <= 100, linear between neighbours. ValueError without values."""
    if not values:
        raise ValueError("a percentile needs at least one value")
    return float(np.percentile(values, q))


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float],
    *,
    level: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 1,
) -> tuple[float, float]:
    """Interval that covers the statistic with probability `level`, as (low, high).

    The percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3).
    It assumes independent values and is too narrow for fewer than some ten of them. The same seed gives the
    same interval. ValueError without values.
    """
    if not values:
        raise ValueError("a bootstrap interval needs at least one value")
    draw = np.random.default_rng(seed).choice(np.asarray(values), size=(num_resamples, len(values)))
    resampled = [statistic(row.tolist()) for row in draw]
    tail = 50 * (1 - level)
    return percentile(resampled, tail), percentile(resampled, 100 - tail)


def print_report(report: Report, console: Console) -> None:
    """The figures side by side, one column per contender, and the bars below."""
    columns = {"tumbler": report.results, **report.peers} if report.results else dict(report.peers)
    table = Table(Column(overflow="fold"), *columns, title=report.name)
    for figure in dict.fromkeys(figure for figures in columns.values() for figure in figures):
        table.add_row(figure, *(_cell(figures.get(figure)) for figures in columns.values()))
    console.print(table)
    for bar in report.bars:
        verdict = "ok    " if bar.ok else "MISSED"
        console.print(f"{verdict} {bar.bar}: {_cell(bar.value)} {bar.unit}, limit {_cell(bar.limit)}")


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
        case [*items]:
            return " ".join(map(_cell, items))
        case _:
            return str(value)
