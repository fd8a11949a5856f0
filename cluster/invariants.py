"""What must hold of a run whatever was done to it, checked from its durable records and on this machine."""

import time
from dataclasses import dataclass, field
from typing import Final

from cluster.leftovers import find_leftovers
from orchestrator.domain.audit import audit
from orchestrator.domain.goodput import goodput
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus

_GONE_WITHIN_S: Final = 15.0
"""How long after the end of a run its processes may live."""
_ADD_UP_WITHIN: Final = 1e-3


@dataclass(frozen=True)
class Invariants:
    """`problems` is empty where all hold."""

    status: str
    steps: int
    rows_repeated: int
    rows_missed: int
    links: int
    """Of the one hash chain."""
    parameters_sha256: str | None
    goodput: float | None
    processes: tuple[int, ...]
    """Workers of the run that live on this machine after its end."""
    problems: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return not self.problems


def check_invariants(run: RunDirectory) -> Invariants:
    """Of a run, best of one that has ended. Waits for its last processes to go. Raises StorageError."""
    report, spent, state = audit(run), goodput(run), run.read_status()
    left = _processes_left(run) if state.status.terminal else ()
    problems = list(report.problems)
    if state.status is RunStatus.FAILED:
        problems.append(f"it failed: {state.reason}, {state.message}")
    if left:
        problems.append(f"{len(left)} of its processes live after its end: {', '.join(map(str, left))}")
    if abs(sum(spent.buckets.values()) - spent.worker_s) > _ADD_UP_WITHIN * spent.worker_s:
        problems.append("the buckets of its goodput do not add up to its granted worker-seconds")
    return Invariants(
        status=str(state.status),
        steps=report.steps,
        rows_repeated=sum(epoch.repeated for epoch in report.epochs),
        rows_missed=sum(epoch.missed for epoch in report.epochs),
        links=len(report.chain),
        parameters_sha256=report.parameters_sha256,
        goodput=spent.goodput,
        processes=left,
        problems=tuple(problems),
    )


def _processes_left(run: RunDirectory) -> tuple[int, ...]:
    deadline = time.monotonic() + _GONE_WITHIN_S
    while (left := find_leftovers(run).processes) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left
