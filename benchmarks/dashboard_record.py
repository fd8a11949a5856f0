"""A home whose service has seen much: ten thousand runs, one of them of a million points."""

import asyncio
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.journal import JournalWriter
from orchestrator.domain.lifecycle import new_run
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.runs import Change, Progress
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import RunStatus
from orchestrator.store.sql import SqlRecord

LONG, LIVE = "long", "live"
NUM_WITH_CURVES, NUM_SMALL_POINTS = 200, 500
STEP_S: Final = 0.5
FLUSH_EVERY: Final = 5000
EVALUATE_EVERY: Final = 1000


@dataclass(frozen=True)
class History:
    num_runs: int
    """In all."""
    num_points: int
    """Of the run LONG, which is over; LIVE trains, as far as the record knows, and has a tenth of them."""


def fill(home: Path, history: History) -> None:
    """Into a home in which no service runs yet."""
    storage = home / "runs"
    asyncio.run(_add_runs(f"sqlite:///{home / 'tumbler.db'}", storage, history))
    _write_points(storage / LONG, history.num_points)
    _write_points(storage / LIVE, history.num_points // 10)
    for number in range(NUM_WITH_CURVES):
        _write_points(storage / f"old-{number}", NUM_SMALL_POINTS)


async def _add_runs(url: str, storage: Path, history: History) -> None:
    record = SqlRecord.open(url)
    try:
        await asyncio.gather(*(record.add(change) for change in _changes(storage, history)))
    finally:
        await record.close()


def _changes(storage: Path, history: History) -> Iterator[Change]:
    now = datetime.now(UTC)
    over, trains = RunStatus.SUCCEEDED, RunStatus.RUNNING
    yield _change(storage, LONG, over, history.num_points, now)
    yield _change(storage, LIVE, trains, history.num_points // 10, now)
    for number in range(history.num_runs - 2):
        created = now - timedelta(minutes=1 + number)
        yield _change(storage, f"old-{number}", over, NUM_SMALL_POINTS, created)


def _change(storage: Path, name: str, status: RunStatus, steps: int, created: datetime) -> Change:
    spec = RunSpec.parse(
        {
            "name": name,
            "task": "language_model",
            "workers": {"min": 1, "max": 4},
            "train": {"steps": steps if status is RunStatus.SUCCEEDED else 2 * steps, "global_batch": 64},
            "labels": {"team": "history"},
            "checkpoint": {"storage": str(storage)},
        }
    )
    made = new_run(spec, now=created)
    at = made.run.created
    over = status is RunStatus.SUCCEEDED
    progress = Progress(
        step=steps,
        total_steps=spec.train.steps,
        workers=0 if over else 4,
        generation=1,
        metrics={"loss": 1.5, "val_loss": 1.6, "step_s": STEP_S},
    )
    run = made.run.with_(
        status=status,
        reason="Finished" if over else None,
        started=at,
        ended=at if over else None,
        attempt=1,
        driver=1,
        target=0 if over else 4,
        progress=progress,
    )
    return Change(run, made.events)


def _write_points(folder: Path, num_points: int) -> None:
    chance = random.Random(num_points)
    with JournalWriter(RunDirectory(folder).outbox, "metrics") as writer:
        for step in range(1, num_points + 1):
            writer.append(point(step, num_points, chance.random()))
            if step % EVALUATE_EVERY == 0:
                writer.append({"kind": "evaluation", "step": step, "time": float(step), "val_loss": 1.6})
            if step % FLUSH_EVERY == 0:
                writer.flush()


def point(step: int, num_points: int, noise: float) -> Mapping[str, Any]:
    """As a controller writes one."""
    return {
        "step": step,
        "time": 1.7e9 + step * STEP_S,
        "step_s": STEP_S + noise / 100,
        "workers": 4,
        "generation": 1,
        "loss": 1.5 + 8 * math.exp(-5 * step / num_points) + noise / 10,
        "count": 4096.0,
        "grad_norm": noise,
        "lr": 3e-4,
        "input_wait_s": noise / 1e4,
    }
