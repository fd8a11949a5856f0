import random

import pytest

from orchestrator.domain.stragglers import Paces


def named(ratio: float, *, steps: int = 200, noise: float = 0.0, members: int = 4) -> list[tuple[int, str]]:
    """(step, worker) of each naming; w0 is `ratio` times slower than the others, with noise on everybody."""
    paces, rng = Paces(), random.Random(3)
    found = []
    for step in range(1, steps + 1):
        seen = {
            f"w{i}": 0.01 * (ratio if i == 0 else 1) * rng.lognormvariate(0, noise) for i in range(members)
        }
        found += [(step, straggler.worker_id) for straggler in paces.observe(seen)]
    return found


@pytest.mark.parametrize("members", [2, 3, 8])
def test_one_three_times_slower_is_named_once_and_within_twenty_steps(members: int) -> None:
    ((step, worker),) = named(3.0, members=members, noise=0.1)
    assert worker == "w0"
    assert step <= 20


def test_one_that_becomes_slow_in_the_middle_is_named_within_twenty_steps_of_it() -> None:
    paces = Paces()
    found = []
    for step in range(1, 121):
        pace = {"a": 0.01, "b": 0.03 if step > 100 else 0.01, "c": 0.01}
        found += [(step, straggler.worker_id) for straggler in paces.observe(pace)]
    ((step, worker),) = found
    assert worker == "b"
    assert 100 < step <= 120


@pytest.mark.parametrize("members", [2, 3, 8])
def test_one_a_third_slower_is_never_named_however_noisy_the_clock(members: int) -> None:
    assert named(1.3, steps=3000, noise=0.3, members=members) == []


def test_a_single_slow_step_is_no_straggler() -> None:
    paces = Paces()
    seen = [{"a": 0.01, "b": 1.0 if step % 10 == 0 else 0.01} for step in range(100)]
    assert [straggler for pace in seen for straggler in paces.observe(pace)] == []


def test_what_is_less_than_the_clock_can_tell_is_no_straggler() -> None:
    paces = Paces()
    assert [found for _ in range(100) for found in paces.observe({"a": 0.0001, "b": 0.0004})] == []


def test_one_that_recovered_and_slows_down_again_is_named_again() -> None:
    paces = Paces()
    found = []
    for slow in (True, False, True):
        for _ in range(40):
            found += paces.observe({"a": 0.01, "b": 0.05 if slow else 0.01})
    assert [straggler.worker_id for straggler in found] == ["b", "b"]


def test_nobody_is_a_straggler_alone_or_before_all_have_been_seen() -> None:
    paces = Paces()
    assert [found for _ in range(50) for found in paces.observe({"a": 0.01})] == []
    assert [found for _ in range(15) for found in paces.observe({"a": 0.01, "b": 0.09})] == []
