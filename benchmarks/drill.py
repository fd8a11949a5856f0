"""One contender trains, under observation: with a kill in the middle, or left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from benchmarks.steps import Kill, Recovery, Step, StepReader, measure_recovery, step_times

POLL_S = 0.01
TAIL_LINES = 15


@dataclass(frozen=True)
class Plan:
    """What a contender trains, and where it leaves its traces. Crosses processes as JSON."""

    workload: str
    """`module:function`, see `benchmarks.workload`."""
    folder: str
    """Empty when the run starts; takes the step log, checkpoints and output."""
    storage: str
    """What several runs may share, such as prepared data."""
    num_workers: int = 2
    checkpoint_every: int = 20
    """Steps."""
    seed: int = 1

    @property
    def log(self) -> Path:
        return Path(self.folder, "steps.jsonl")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


IsAlive = Callable[[], bool]
Launch = Callable[[Plan], AbstractContextManager[IsAlive]]
"""Starts a contender that trains until the context is left; then nothing of it is left running."""


def recover(
    launch: Launch, plan: Plan, *, kill_after_step: int = 30, rank: int | None = None, timeout_s: float = 120
) -> Recovery:
    """SIGKILL one worker at a random phase of a step and wait until all are back.

    The victim is the worker of the highest rank unless `rank` says otherwise.

    With a checkpoint every 20 steps a kill after step 30 is the mean case for those that go back to one.
    Raises TimeoutError or ChildProcessError, with what it printed, where the contender does not get that far.
    """
    reader = StepReader(plan.log)
    with launch(plan) as is_alive:
        _wait(lambda: _all_reached(reader.refresh(), plan, kill_after_step), is_alive, plan, timeout_s)
        kill = _kill(reader.steps, plan, plan.num_workers - 1 if rank is None else rank)
        _wait(lambda: measure_recovery(reader.refresh(), kill) is not None, is_alive, plan, timeout_s)
    recovery = measure_recovery(reader.steps, kill)
    assert recovery is not None, "the wait above has seen it"
    return recovery


def train_alone(
    launch: Launch, plan: Plan, *, num_steps: int, num_warmup: int = 20, timeout_s: float = 300
) -> list[float]:
    """Seconds of each of `num_steps` undisturbed steps after the warm-up. Raises as `recover` does."""
    reader = StepReader(plan.log)
    last = num_warmup + num_steps + 1
    with launch(plan) as is_alive:
        _wait(lambda: _all_reached(reader.refresh(), plan, last), is_alive, plan, timeout_s)
    return step_times(reader.steps, num_warmup=num_warmup)[:num_steps]


def _all_reached(steps: list[Step], plan: Plan, step: int) -> bool:
    full = plan.num_workers
    return len({seen.rank for seen in steps if seen.step >= step and seen.world == full}) == full


def _kill(steps: list[Step], plan: Plan, rank: int) -> Kill:
    phase = random.Random(plan.seed).random()
    time.sleep(phase * statistics.median(step_times(steps)))
    victim = next(step for step in reversed(steps) if step.rank == rank)
    kill = Kill(time.time(), victim.pid)
    os.kill(victim.pid, signal.SIGKILL)
    return kill


def _wait(done: Callable[[], bool], is_alive: IsAlive, plan: Plan, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        if not is_alive():
            raise ChildProcessError(f"it ended before it was told to:\n{_output(plan)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not get there in {timeout_s:g} s:\n{_output(plan)}")
        time.sleep(POLL_S)


def _output(plan: Plan) -> str:
    """The last lines of what the processes of a run printed."""
    tails = {
        path.name: path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        for path in sorted(Path(plan.folder).glob("*.log"))
    }
    return "\n".join(f"{name}: {line}" for name, lines in tails.items() for line in lines)
