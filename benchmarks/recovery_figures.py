"""What a drill cost, fault by fault and join by join, from its step logs and its events."""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks.joins import Join, joins_of
from benchmarks.shared_steps import Cost, cost_of
from benchmarks.tumbler_drill import Drilled


@dataclass(frozen=True)
class FaultFigures:
    num_workers: int
    kind: str
    cost: Cost
    steps_repeated: int


@dataclass
class Verdicts:
    """What must hold of every run, gathered over all of them."""

    parameters: set[str] = field(default_factory=set)
    """The SHA-256 that occurred; one is right."""
    num_bad_audits: int = 0
    num_missed: int = 0

    def take(self, drilled: Drilled) -> None:
        self.parameters.add(str(drilled.parameters_sha256))
        self.num_bad_audits += not drilled.audit_ok
        self.num_missed += drilled.num_planned - len(figures_of(drilled))


def figures_of(drilled: Drilled) -> list[FaultFigures]:
    """One entry per fault, in order; none for one after which the run took no more step."""
    next_at = [*(fault.t for fault in drilled.faults), math.inf][1:]
    generations = generations_in(drilled.events)
    return [
        FaultFigures(
            num_workers=drilled.num_workers,
            kind=fault.kind,
            cost=cost,
            steps_repeated=_steps_repeated(generations, fault.t, until),
        )
        for fault, until in zip(drilled.faults, next_at, strict=True)
        if (cost := cost_of(fault, drilled.shared, until)) is not None
    ]


def joins_in(drilled: Drilled) -> list[Join]:
    return joins_of(generations_in(drilled.events), drilled.shared, drilled.faults)


def generations_in(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [event for event in events if event["kind"] == "generation-started"]


def median_step_s(drilled: Drilled) -> float:
    """Of the steps at full strength."""
    full = [step for step in drilled.shared if len(step.pids) == drilled.num_workers]
    return statistics.median(
        later.t - earlier.t
        for earlier, later in itertools.pairwise(full)
        if later.step == earlier.step + 1 and later.pids == earlier.pids
    )


def _steps_repeated(generations: Sequence[Mapping[str, Any]], after: float, until: float) -> int:
    """The most that one generation between the two times did again."""
    return max(
        (
            int(event["steps_repeated"])
            for event in generations
            if after < datetime.fromisoformat(event["time"]).timestamp() <= until
        ),
        default=0,
    )
