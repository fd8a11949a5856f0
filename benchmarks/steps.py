"""The step log that every contender writes, and what a kill cost according to it."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One optimizer update, as one worker saw it."""

    t: float
    """Seconds since the Unix epoch at which the update was done. All contenders run on one machine."""
    step: int
    rank: int
    world: int
    pid: int


@dataclass(frozen=True)
class Kill:
    """One SIGKILL."""

    t: float
    """Seconds since the Unix epoch, taken just before the signal."""
    pid: int


@dataclass(frozen=True)
class Recovery:
    """What one kill cost."""

    kill_to_next_step_s: float
    steps_repeated: int
    kill_to_full_strength_s: float


class StepLog:
    """Appends steps to a file that several processes share: one write per line keeps lines whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, step: int, *, rank: int, world: int) -> None:
        record = asdict(Step(time.time(), step, rank, world, os.getpid()))
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps(record).encode() + b"\n")


class StepReader:
    """Follows a step log as it grows; the file may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.steps: list[Step] = []

    def refresh(self) -> list[Step]:
        """Read what was added since the last call; returns all steps so far."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self._offset += len(whole) + 1
                self.steps.extend(Step(**json.loads(line)) for line in whole.splitlines())
        return self.steps


def measure_recovery(steps: Sequence[Step], kill: Kill) -> Recovery | None:
    """What the kill cost, or None if the log ends before full strength was regained.

    The next step is the first one done by a group without the victim: its world size differs or it has a
    worker that was not there before. A step in flight that the survivors could still finish is no recovery.
    Steps that were done before the kill and again after it are repeated. Full strength is the world size at
    the kill. ValueError if the log has no step before the kill.
    """
    before = [step for step in steps if step.t <= kill.t]
    if not before:
        raise ValueError("the log has no step before the kill")
    full = before[-1].world
    members = {step.pid for step in before}
    after = sorted((step for step in steps if step.t > kill.t), key=lambda step: step.t)
    regrouped = [step for step in after if step.world != full or step.pid not in members]
    if not regrouped:
        return None
    next_step = regrouped[0]
    restored = [step for step in after if step.t >= next_step.t and step.world >= full]
    if not restored:
        return None
    last_before = max(step.step for step in steps if step.t < next_step.t)
    return Recovery(
        kill_to_next_step_s=next_step.t - kill.t,
        steps_repeated=max(0, last_before - next_step.step + 1),
        kill_to_full_strength_s=restored[0].t - kill.t,
    )


def step_times(steps: Sequence[Step], *, rank: int = 0, num_warmup: int = 0) -> list[float]:
    """Seconds from one step of a rank to its next, in order, without the first `num_warmup` of them."""
    ends = [step.t for step in steps if step.rank == rank]
    return [later - earlier for earlier, later in itertools.pairwise(ends)][num_warmup:]
