"""Readers of the segments of a store: rows by index in the order of a plan, and a plain loop."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from orchestrator.domain.order import BatchPlan
from trainers.elastic.intake import Intake
from trainers.feed.rows import FeedRows
from trainers.feed.segments import SegmentStore

_SHARDS = 8
_PLACES = (0.0, 0.25, 0.5, 0.75, 0.99)


def plain_epoch(store: SegmentStore, batch: int, *, copies: bool = False) -> float:
    """Seconds to stack all rows into batches, in the order of the files, with pyarrow alone.

    Each row is a read-only view of the file; with `copies` it is an array of its own, which may be written
    to, as a row of a Task must be.
    """
    begun = time.perf_counter()
    held: list[np.ndarray] = []
    for entry in store.entries():
        with pa.memory_map(str(store.path(entry.number))) as file:
            for found in pa.ipc.open_file(file).read_all().to_batches():
                pixels = found.column("pixels")
                for row in range(found.num_rows):
                    found_row = pixels[row].values.to_numpy()
                    held.append(found_row.copy() if copies else found_row)
                    if len(held) == batch:
                        np.stack(held)
                        held = []
    return time.perf_counter() - begun


def plan_epoch(
    folder: Path, num_rows: int, batch: int, window: int, *, epochs: int, seed: int
) -> list[float]:
    """Seconds per epoch to stack all rows into the batches of a plan, as the only worker of a run does.

    The first epoch opens and checks each segment, the second finds them checked.
    """
    plan = BatchPlan(num_rows, batch, _SHARDS, seed, window)
    intake = Intake(FeedRows(folder, 0, num_rows), plan)
    found = []
    for epoch in range(epochs):
        begun = time.perf_counter()
        for step in range(epoch * plan.steps_per_epoch + 1, (epoch + 1) * plan.steps_per_epoch + 1):
            batch_of(intake, step)
        found.append(time.perf_counter() - begun)
    return found


def resumes_s(folder: Path, num_rows: int, batch: int, window: int) -> list[float]:
    """Seconds from opening the store to the first batch, at several places of the second epoch."""
    found = []
    for place in _PLACES:
        begun = time.perf_counter()
        plan = BatchPlan(num_rows, batch, _SHARDS, 1, window)
        intake = Intake(FeedRows(folder, 0, num_rows), plan)
        batch_of(intake, plan.steps_per_epoch + 1 + int(place * plan.steps_per_epoch))
        found.append(time.perf_counter() - begun)
    return found


def batch_of(intake: Intake, step: int) -> np.ndarray:
    intake.look_ahead(step, (0, _SHARDS))
    return np.stack([row["pixels"] for shard in range(_SHARDS) for row in intake.take(step, shard)])
