"""What the members felt when a group grew or shrank, and a run that is told to do so again and again."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from benchmarks.joins import join_at
from benchmarks.shared_steps import SharedStep, StepLogs
from benchmarks.tumbler_drill import Beside, logging_steps
from orchestrator.domain.audit import audit
from orchestrator.domain.goodput import RunGoodput, goodput
from orchestrator.domain.journal import read_journal
from orchestrator.domain.ray_names import NAMESPACE, controller_name
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from trainers.main import train

POLL_S = 0.02
STEPS_BETWEEN = 14
"""Steps at the new size before the next change: enough to know what a normal one takes."""
GROW, SHRINK = "grow", "shrink"


@dataclass(frozen=True)
class Order:
    """The run was told another number of workers."""

    t: float
    before: int
    workers: int

    @property
    def kind(self) -> str:
        return GROW if self.workers > self.before else SHRINK


@dataclass(frozen=True)
class Resize:
    """One generation that took in newcomers, or let members go, and lost nobody."""

    kind: str
    pause_s: float
    """The largest gap between two steps around the change, less a normal step at the new size."""
    step_s: float
    copy_s: float
    steps_repeated: int


@dataclass(frozen=True)
class Resized:
    """A run that is over, and what it was told."""

    orders: Sequence[Order]
    num_planned: int
    shared: Sequence[SharedStep]
    events: Sequence[Mapping[str, Any]]
    parameters_sha256: str | None
    audit_ok: bool
    spent: RunGoodput


def resizes_of(resized: Resized) -> list[Resize]:
    """By the workers' own clocks, without those at the very end of the log."""
    done_at = {step.step: step.t for step in resized.shared}
    generations = [event for event in resized.events if event["kind"] == "generation-started"]
    found = []
    for before, event in itertools.pairwise(generations):
        old, new = set(before["workers"]), set(event["workers"])
        if not (old < new or new < old):
            continue
        change = join_at(event["step"], event["copy_s"], done_at, kills=())
        if change is not None:
            kind = GROW if old < new else SHRINK
            found.append(Resize(kind, change.pause_s, change.step_s, change.copy_s, event["steps_repeated"]))
    return found


def until_full(resized: Resized, kind: str) -> list[float]:
    """Seconds from each order to the first step of as many members as it wished."""
    ends = [*(order.t for order in resized.orders), float("inf")][1:]
    found = []
    for order, end in zip(resized.orders, ends, strict=True):
        first = next(
            (
                step.t - order.t
                for step in resized.shared
                if order.t < step.t < end and len(step.pids) == order.workers
            ),
            None,
        )
        if order.kind == kind and first is not None:
            found.append(first)
    return found


class Resizer(Beside):
    """Works through a list of sizes."""

    def __init__(self, sizes: Sequence[int], begin_with: int, logs: StepLogs) -> None:
        super().__init__()
        self.orders: list[Order] = []
        self._sizes = sizes
        self._size = begin_with
        self._logs = logs

    def _work(self, run: RunDirectory) -> None:
        for size in self._sizes:
            if not self._settled():
                return
            controller = ray.get_actor(controller_name(run.name), namespace=NAMESPACE)
            order = Order(time.time(), self._size, size)
            ray.get(controller.set_target.remote(size))
            self.orders.append(order)
            self._size = size
        self._settled()

    def _settled(self) -> bool:
        """Wait for some steps at the present size; False where the run is over before."""
        since = self.orders[-1].t if self.orders else 0.0
        seen: set[int] = set()
        while len(seen) <= STEPS_BETWEEN:
            if self._over.wait(POLL_S):
                return False
            self._logs.refresh()
            newest = self._logs.newest
            if newest is not None and newest.t > since and len(newest.pids) == self._size:
                seen.add(newest.step)
        return True


def resize_again_and_again(
    spec: RunSpec,
    sizes: Sequence[int],
    *,
    begin_with: int,
    num_cpus: int,
    folder: Path,
    on_start: Callable[[RunDirectory], None] = lambda run: None,
) -> Resized:
    """Train to the end in a local Ray of its own, while the run is told one size after another."""
    folder.mkdir(parents=True)
    logs = StepLogs(folder)
    resizer = Resizer(sizes, begin_with, logs)

    def begin(run: RunDirectory) -> None:
        on_start(run)
        resizer.begin(run)

    with logging_steps(folder):
        try:
            result = train(spec, num_cpus=num_cpus, on_start=begin)
        finally:
            resizer.end()
    logs.refresh()
    return Resized(
        orders=resizer.orders,
        num_planned=len(sizes),
        shared=logs.shared,
        events=list(read_journal(result.run.outbox, "events")),
        parameters_sha256=result.parameters_sha256,
        audit_ok=audit(result.run).ok,
        spent=goodput(result.run),
    )
