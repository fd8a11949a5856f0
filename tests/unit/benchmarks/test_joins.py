import pytest

from benchmarks.joins import Join, joins_of
from benchmarks.shared_steps import Fault, SharedStep

STEP_S, PAUSE_S = 0.125, 0.5
SHRUNK = {"workers": ["w1"], "step": 10, "copy_s": 0.0}
GROWN = {"workers": ["w1", "w2"], "step": 20, "copy_s": 0.0625}


def steps(num_steps: int = 40, *, pause_after: int = 20) -> list[SharedStep]:
    """Steps of equal length, but for one pause."""
    return [
        SharedStep(STEP_S * number + (PAUSE_S if number > pause_after else 0), number, (10, 11))
        for number in range(1, num_steps + 1)
    ]


def test_the_pause_is_what_the_longest_gap_around_the_join_has_beyond_a_normal_step() -> None:
    assert joins_of([SHRUNK, GROWN], steps(), []) == [Join(PAUSE_S, STEP_S, 0.0625)]


@pytest.mark.parametrize("pause_after", [15, 30])
def test_a_pause_elsewhere_is_not_blamed_on_the_join(pause_after: int) -> None:
    (join,) = joins_of([SHRUNK, GROWN], steps(pause_after=pause_after), [])
    assert join.pause_s == pytest.approx(0)


def test_a_join_into_which_a_kill_fell_is_left_out() -> None:
    fault = Fault("one", STEP_S * 20, (99,), members=(10, 11), full=2)
    assert joins_of([SHRUNK, GROWN], steps(), [fault]) == []


def test_a_generation_that_lost_somebody_is_no_join() -> None:
    assert joins_of([{**SHRUNK, "workers": ["w0", "w1"]}, GROWN], steps(), []) == []


def test_a_join_at_the_end_of_the_log_is_left_out() -> None:
    assert joins_of([SHRUNK, GROWN], steps(21), []) == []


def test_the_allowance_is_two_steps_but_not_less_than_a_quarter_second_plus_the_copy() -> None:
    assert Join(0, 0.01, 0.1).allowance_s == 0.25 + 0.1
    assert Join(0, 0.2, 0.1).allowance_s == 0.4 + 0.1
