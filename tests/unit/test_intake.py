"""Rows are there before a step begins, are asked for ahead, and what waiting cost is known."""

from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.domain.order import BatchPlan
from trainers.elastic.intake import Intake
from trainers.feed.run_feed import RunFeed
from trainers.feed.segments import SegmentStore


class Told:
    """Rows that remember what they were asked to prefetch."""

    def __init__(self) -> None:
        self.wishes: list[list[int]] = []

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> int:
        return index * 10

    def prefetch(self, indices: list[int]) -> None:
        self.wishes.append(indices)


@pytest.fixture
def plan() -> BatchPlan:
    return BatchPlan(64, 16, 4, 1, window=16)


def a_store(folder: Path, *, segments: int) -> SegmentStore:
    store = SegmentStore(folder / ("f" * 64))
    assert store.lock.acquire()
    store.begin(16, None)
    for _ in range(segments):
        store.append(pa.table({"x": list(range(16))}))
    return store


def test_the_rows_of_a_shard_come_in_the_order_of_the_plan(plan: BatchPlan) -> None:
    intake = Intake(Told(), plan)
    assert intake.take(2, 1) == [row * 10 for row in plan.rows(2, 1)]


def test_only_the_rows_of_the_shards_it_owns_are_asked_for_ahead(plan: BatchPlan) -> None:
    rows = Told()
    Intake(rows, plan).look_ahead(1, (1, 3))
    (wish,) = rows.wishes
    assert wish == [row for step in (2, 3) for shard in (1, 2) for row in plan.rows(step, shard)]


def test_rows_without_prefetch_are_left_alone(plan: BatchPlan) -> None:
    Intake([0] * 64, plan).look_ahead(1, (0, 4))


def test_a_step_waits_for_the_rows_of_all_shards_and_can_be_called_away(
    plan: BatchPlan, tmp_path: Path
) -> None:
    store = a_store(tmp_path, segments=1)
    intake = Intake(Told(), plan, RunFeed(store.folder, 64, tmp_path, complete=False))
    assert intake.await_step(1, lambda: True)
    assert not intake.await_step(2, lambda: True)

    def another_segment() -> bool:
        store.append(pa.table({"x": list(range(16))}))
        return False

    assert intake.await_step(2, another_segment)
    assert intake.waited_s() > 0
    assert intake.waited_s() == 0
    store.close()
