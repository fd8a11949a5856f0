"""What a resize cost, by logs and events whose answer can be counted on fingers."""

from typing import Any

import pytest

from benchmarks.peers.stock_resize import growth_in
from benchmarks.resize import bars_of, sizes, summary
from benchmarks.resizes import GROW, SHRINK, Order, Resized, resizes_of, until_full
from benchmarks.shared_steps import SharedStep
from benchmarks.steps import Step
from orchestrator.domain.goodput import RunGoodput


def generation(number: int, step: int, *workers: str, repeated: int = 0) -> dict[str, Any]:
    facts = {"generation": number, "step": step, "workers": list(workers), "copy_s": 0.01}
    return {"kind": "generation-started", "steps_repeated": repeated, **facts}


def resized(*, repeated: int = 0, sha: str = "a", planned: int = 2) -> Resized:
    """A step each 0.1 s; 0.4 s more when it grows after step 20, 0.2 s when it shrinks after step 50."""
    shared, t = [], 0.0
    for step in range(1, 81):
        t += 0.1 + (0.4 if step == 21 else 0.2 if step == 51 else 0.0)
        pids = (1, 2, 3) if 20 < step <= 50 else (1, 2)
        shared.append(SharedStep(round(t, 3), step, pids))
    events = [
        generation(1, 0, "w1", "w2"),
        generation(2, 20, "w1", "w2", "w3", repeated=repeated),
        generation(3, 50, "w1", "w2"),
    ]
    orders = [Order(1.0, 2, 3), Order(5.0, 3, 2)]
    return Resized(orders, planned, shared, events, sha, True, RunGoodput(run="r"))


def test_the_pause_is_the_longest_gap_less_a_normal_step() -> None:
    found = resizes_of(resized())
    assert [change.kind for change in found] == [GROW, SHRINK]
    assert [change.pause_s for change in found] == pytest.approx([0.4, 0.2])
    assert [change.step_s for change in found] == pytest.approx([0.1, 0.1])


def test_an_order_is_answered_by_the_first_step_at_its_size() -> None:
    assert until_full(resized(), GROW) == pytest.approx([1.5])  # step 21 is done at 2.5
    assert until_full(resized(), SHRINK) == pytest.approx([0.7])  # step 51 at 5.7


def test_a_resize_that_keeps_its_promises_meets_all_bars() -> None:
    run = resized()
    bars = bars_of(run, resized(), resizes_of(run))
    assert all(bar.ok for bar in bars), bars
    figures = summary(run, resizes_of(run))
    assert figures["grow: pause_p50_s"] == pytest.approx(0.4)
    assert figures["shrink: num_generations"] == 1


@pytest.mark.parametrize(
    ("broken", "bar"),
    [
        (resized(repeated=1), "steps repeated by a resize"),
        (resized(sha="b"), "other parameters than one undisturbed worker's"),
        (resized(planned=3), "resizes planned for which the run was too short"),
    ],
)
def test_each_broken_promise_misses_its_bar(broken: Resized, bar: str) -> None:
    bars = bars_of(broken, resized(), resizes_of(broken))
    assert [one.bar for one in bars if not one.ok] == [bar]


def test_a_run_that_never_changed_its_size_misses_the_bars() -> None:
    bars = bars_of(resized(), resized(), [])
    assert [bar.ok for bar in bars[:2]] == [False, False]


def test_sizes_go_up_and_down_as_the_seed_says() -> None:
    assert sizes(4, seed=1)[1::2] == [2, 2, 2, 2]
    assert set(sizes(20, seed=1)[::2]) == {3, 4}
    assert sizes(20, seed=1) == sizes(20, seed=1)


def test_what_a_restart_costs_is_counted_in_its_log() -> None:
    before = [Step(float(step), step, 0, 2, 7) for step in range(1, 36)]
    after = [Step(42.0 + step, step, 0, 4, 8) for step in range(21, 30)]
    assert growth_in([*before, *after]) == {"num_resizes": 1, "pause_s": 28.0, "steps_repeated": 15}
