import pytest

from orchestrator.domain.order import BatchPlan
from trainers.feed.row_order import RowOrder


@pytest.mark.parametrize(
    ("num_rows", "batch", "shards", "window"),
    [
        (1000, 64, 8, 100),
        (1000, 64, 8, None),
        (1001, 7, 3, 10),
        (65, 64, 8, 10_000),
        (7, 7, 7, 1),
        (130, 64, 5, 64),
    ],
)
def test_rows_by_windows_are_the_rows_of_the_plan(
    num_rows: int, batch: int, shards: int, window: int | None
) -> None:
    plan = BatchPlan(num_rows, batch, shards, 17, window)
    order = RowOrder(plan)
    for step in range(1, 3 * plan.steps_per_epoch + 1):
        for shard in range(shards):
            assert order.rows(step, shard) == plan.rows(step, shard)


def test_a_window_too_large_to_keep_is_computed_row_by_row() -> None:
    plan = BatchPlan(1 << 22, 64, 8, 17, None)
    assert RowOrder(plan).rows(3, 5) == plan.rows(3, 5)
