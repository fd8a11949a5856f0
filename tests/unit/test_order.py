from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.order import BatchPlan, EpochOrder

quick = settings(max_examples=40, deadline=None)
sizes = st.integers(1, 300)
seeds = st.integers(-(2**63), 2**63)
windows = st.none() | st.integers(1, 400)
epochs = st.integers(0, 10**6)


@quick
@given(sizes, seeds, windows, epochs)
def test_an_epoch_uses_every_row_exactly_once(
    num_rows: int, seed: int, window: int | None, epoch: int
) -> None:
    order = EpochOrder(num_rows, seed, window)
    assert sorted(order.row(epoch, position) for position in range(num_rows)) == list(range(num_rows))


@quick
@given(sizes, seeds, st.integers(1, 400), epochs)
def test_windows_stay_together(num_rows: int, seed: int, window: int, epoch: int) -> None:
    order = EpochOrder(num_rows, seed, window)
    numbers = [order.row(epoch, position) // order.window for position in range(num_rows)]
    num_changes = sum(left != right for left, right in pairwise(numbers))
    assert num_changes == len(set(numbers)) - 1


@pytest.mark.slow
@quick
@given(st.integers(50, 300), seeds, windows, st.integers(1, 10**6))
def test_epochs_differ_and_so_do_seeds(num_rows: int, seed: int, window: int | None, epoch: int) -> None:
    def rows(seed: int, epoch: int) -> list[int]:
        order = EpochOrder(num_rows, seed, window)
        return [order.row(epoch, position) for position in range(num_rows)]

    assert rows(seed, epoch) != rows(seed, epoch + 1)
    assert rows(seed, epoch) != rows(seed + 1, epoch)


@quick
@given(sizes, seeds, windows, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 299)), max_size=20))
def test_the_answer_does_not_depend_on_what_was_asked_before(
    num_rows: int, seed: int, window: int | None, questions: list[tuple[int, int]]
) -> None:
    asked_often = EpochOrder(num_rows, seed, window)
    for epoch, position in questions:
        fresh = EpochOrder(num_rows, seed, window)
        assert asked_often.row(epoch, position % num_rows) == fresh.row(epoch, position % num_rows)


def test_the_short_last_window_moves_about() -> None:
    order = EpochOrder(10, seed=1, window=4)
    places = {next(p for p in range(10) if order.row(epoch, p) >= 8) for epoch in range(1, 41)}
    assert places == {0, 4, 8}


@quick
@given(sizes, seeds, st.integers(1, 400))
def test_the_first_epoch_goes_through_the_windows_as_they_lie(num_rows: int, seed: int, window: int) -> None:
    order = EpochOrder(num_rows, seed, window)
    numbers = [order.row(0, position) // order.window for position in range(num_rows)]
    assert numbers == sorted(numbers)


def test_rows_are_shuffled_inside_the_windows_of_the_first_epoch_and_all_windows_later() -> None:
    order = EpochOrder(1000, seed=5, window=100)
    first = [order.row(0, position) for position in range(100)]
    assert sorted(first) == list(range(100))
    assert first != list(range(100))
    assert [order.row(1, position) // 100 for position in range(0, 1000, 100)] != list(range(10))


def test_orders_of_few_rows_are_even() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(2400):
        order = EpochOrder(4, seed)
        key = tuple(order.row(0, position) for position in range(4))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert chi_square < 50  # 23 degrees of freedom: one in a thousand is above 49.7


def test_the_order_is_the_same_on_every_platform() -> None:
    """Written down once; a change here breaks the resume of every run that exists."""
    whole, windowed = EpochOrder(1000, seed=17), EpochOrder(1000, seed=17, window=100)
    assert [whole.row(3, position) for position in range(6)] == [270, 559, 255, 487, 867, 426]
    assert [windowed.row(3, position) for position in range(98, 104)] == [942, 983, 299, 246, 207, 220]
    assert [windowed.row(0, position) for position in range(98, 104)] == [94, 31, 191, 132, 111, 179]


@quick
@given(
    sizes,
    st.integers(1, 60).flatmap(lambda batch: st.tuples(st.just(batch), st.integers(1, batch))),
    seeds,
    windows,
    st.integers(0, 3),
)
def test_the_shards_of_all_steps_cover_each_row_once_per_epoch(
    num_rows: int, batch: tuple[int, int], seed: int, window: int | None, epoch: int
) -> None:
    global_batch, logical_shards = batch
    plan = BatchPlan(num_rows, global_batch, logical_shards, seed, window)
    steps = range(plan.num_steps(epoch) + 1, plan.num_steps(epoch + 1) + 1)
    used = [row for step in steps for shard in range(logical_shards) for row in plan.rows(step, shard)]
    assert sorted(used) == list(range(num_rows))
    assert used == [plan.order.row(epoch, position) for position in range(num_rows)]


@quick
@given(sizes, st.integers(1, 60), st.integers(1, 500))
def test_spans_follow_one_another(num_rows: int, global_batch: int, step: int) -> None:
    plan = BatchPlan(num_rows, global_batch, 1, seed=1)
    (epoch, first, last), (next_epoch, next_first, _) = plan.span(step), plan.span(step + 1)
    assert 0 < last - first <= global_batch
    assert (next_epoch, next_first) == ((epoch + 1, 0) if last == num_rows else (epoch, last))


@quick
@given(sizes, st.integers(1, 60), st.integers(1, 100))
def test_shards_of_one_step_differ_by_at_most_one_row(num_rows: int, global_batch: int, step: int) -> None:
    plan = BatchPlan(num_rows, global_batch, min(8, global_batch), seed=1)
    lengths = {len(plan.rows(step, shard)) for shard in range(plan.logical_shards)}
    assert max(lengths) - min(lengths) <= 1


def test_a_short_last_batch_leaves_shards_empty() -> None:
    plan = BatchPlan(num_rows=18, global_batch=16, logical_shards=4, seed=1)
    assert plan.steps_per_epoch == 2
    assert plan.span(2) == (0, 16, 18)
    assert [len(plan.rows(2, shard)) for shard in range(4)] == [0, 1, 0, 1]


def test_steps_count_from_one() -> None:
    plan = BatchPlan(num_rows=10, global_batch=4, logical_shards=2, seed=1)
    assert [plan.span(step) for step in (1, 3, 4)] == [(0, 0, 4), (0, 8, 10), (1, 0, 4)]
    with pytest.raises(ValueError, match="steps count from 1, got 0"):
        plan.span(0)


def test_what_is_out_of_range_is_refused() -> None:
    plan = BatchPlan(num_rows=10, global_batch=4, logical_shards=2, seed=1)
    with pytest.raises(IndexError):
        plan.rows(1, 2)
    with pytest.raises(IndexError):
        plan.order.row(0, 10)
    with pytest.raises(IndexError):
        plan.order.row(0, -1)
    with pytest.raises(ValueError, match="epochs count from 0"):
        plan.order.row(-1, 0)


@pytest.mark.parametrize(
    ("num_rows", "global_batch", "logical_shards", "window"),
    [(0, 1, 1, None), (5, 4, 5, None), (5, 4, 0, None), (5, 4, 2, 0)],
)
def test_counts_below_one_are_refused(
    num_rows: int, global_batch: int, logical_shards: int, window: int | None
) -> None:
    with pytest.raises(ValueError, match="got"):
        BatchPlan(num_rows, global_batch, logical_shards, 1, window)
