"""When a snapshot is due, who holds whose parts, and which memory is overwritten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.checkpoints.arena import SLOTS, Arena
from trainers.checkpoints.copying import wards_of
from trainers.checkpoints.pace import SnapshotPace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_every_so_many_steps_counts_from_the_first_step_of_the_run() -> None:
    pace = SnapshotPace(4)
    pace.begin(3)
    taken = []
    for step in range(4, 20):
        if pace.due(step, 0.0):
            pace.taken(step)
            taken.append(step)
    assert taken == [8, 12, 16]  # 4 is one step after 3


def test_never_is_never() -> None:
    pace = SnapshotPace("never")
    assert not any(pace.due(step, 0.0) for step in range(1000))


def test_by_itself_it_takes_one_soon_and_then_about_every_second() -> None:
    clock = Clock()
    pace = SnapshotPace("auto", clock)
    pace.begin(0)
    taken = []
    for step in range(1, 51):
        clock.now += 0.125
        if pace.due(step, 0.001):
            pace.taken(step)
            taken.append(step)
    assert taken == [2, 10, 18, 26, 34, 42, 50]


def test_copies_that_take_long_are_rarer() -> None:
    clock = Clock()
    pace = SnapshotPace("auto", clock)
    pace.taken(1)
    clock.now += 1.5
    assert pace.due(10, 0.001)
    assert not pace.due(10, 0.02)
    clock.now += 0.6
    assert pace.due(10, 0.02)


def test_a_new_generation_takes_one_soon() -> None:
    clock = Clock()
    pace = SnapshotPace("auto", clock)
    pace.taken(40)
    pace.begin(41)
    assert [pace.due(step, 0.0) for step in (42, 43)] == [False, True]


def test_a_checkpoint_counts_as_a_snapshot() -> None:
    pace = SnapshotPace(4)
    pace.taken(7)
    assert not pace.due(8, 0.0)
    assert pace.due(12, 0.0)


@pytest.mark.parametrize(
    ("nodes", "wards"),
    [
        (["a"], [()]),
        (["a", "a"], [(), ()]),
        (["a", "b"], [(1,), (0,)]),
        (["a", "a", "b", "b"], [(2, 3), (), (0, 1), ()]),
        (["a", "b", "c"], [(2,), (0,), (1,)]),
    ],
)
def test_each_rank_is_held_by_the_next_on_another_node(
    nodes: list[str], wards: list[tuple[int, ...]]
) -> None:
    assert [wards_of(rank, nodes) for rank in range(len(nodes))] == wards


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), st.sampled_from("abcd"))
def test_no_node_takes_both_copies_with_it(nodes: list[str], lost: str) -> None:
    """Whichever node is lost, all parts are there as long as another one is."""
    left = [rank for rank, node in enumerate(nodes) if node != lost]
    held = {part for rank in left for part in (rank, *wards_of(rank, nodes))}
    assert held == (set(range(len(nodes))) if left else set())


@given(st.lists(st.integers(0, SLOTS), max_size=40))
def test_the_newest_snapshot_is_never_overwritten_nor_what_is_still_used(choices: list[int]) -> None:
    """Numbers say for how many turns a slot is still used after it was filled."""
    arena, newest = Arena(64), None
    using: dict[int, int] = {}
    for turns in choices:
        slot = arena.take(0.0)
        if slot is not None:
            assert slot != newest
            assert slot not in using
            arena.share(slot)
            arena.hold(slot)
            arena.give_back(slot)
            using[slot], newest = turns, slot
        for used in [used for used, left in using.items() if not left]:
            arena.give_back(used)
            del using[used]
        using = {used: left - 1 for used, left in using.items()}
    for used in using:
        arena.give_back(used)
    assert arena.close(1.0)
