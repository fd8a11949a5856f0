"""Who gets the workers that nobody needs: by measured speed-up, by fair shares, or by age."""

from typing import Any

import pytest

from orchestrator.domain.runs import Run
from orchestrator.ports.cluster import ClusterView
from orchestrator.scheduling.policy import Policy, Surplus
from orchestrator.scheduling.speed import fit, relative_times
from tests.unit.scheduling_cases import active, decide, queued, queues, view

FAIR, FIFO = Policy(surplus=Surplus.FAIR), Policy(surplus=Surplus.FIFO)


def targets(living: list[Run], cluster: ClusterView, **others: Any) -> dict[str, int]:
    """Of all, also of those that stay as they are."""
    plan = decide([], living, cluster, **others)
    return {run.id: plan.targets.get(run.id, run.target) for run in living}


def test_the_time_of_a_step_is_fitted_to_what_was_measured() -> None:
    c, d = fit({1: 1.0, 2: 0.6, 4: 0.4}, shards=8)
    assert (round(c, 3), round(d, 3)) == (0.2, 0.8)
    assert fit({2: 0.6}, shards=8) == (0.1, 0.9), "a guess, until there are two"
    assert fit({1: 0.5, 2: 0.7}, shards=8)[1] == 0.0, "it does not get slower by fewer hands"
    assert fit({1: 1.0, 2: 0.4}, shards=8)[0] == 0.0


def test_a_worker_beyond_the_next_even_share_of_shards_saves_nothing() -> None:
    times = relative_times(queued("a", workers="1:8"))
    assert times[4] == times[5] == times[7] > times[8]


def test_the_run_that_gets_faster_by_it_gets_the_workers() -> None:
    scales = active("s", 1, workers="1:8", step_s={1: 1.0, 2: 0.5, 4: 0.25})
    stuck = active("t", 1, workers="1:8", step_s={1: 1.0, 2: 0.99, 4: 0.99})
    assert targets([scales, stuck], view(5)) == {"s": 4, "t": 1}


def test_equal_runs_get_equal_parts_and_what_nobody_needs_is_given_out_too() -> None:
    living = [active("a", 1, workers="1:8"), active("b", 1, workers="1:8")]
    assert targets(living, view(4)) == {"a": 2, "b": 2}
    assert targets([active("a", 1, workers="1:8")], view(7)) == {"a": 7}


def test_queue_weight_and_priority_count() -> None:
    living = [active("a", 1, workers="1:8", queue="x"), active("b", 1, workers="1:8", queue="y")]
    heavy = queues(x={"weight": 9.0})
    assert targets(living, view(6), queues=heavy) == {"a": 4, "b": 2}
    preferred = [active("a", 1, workers="1:8", priority=100), active("b", 1, workers="1:8", priority=0)]
    assert targets(preferred, view(6)) == {"a": 5, "b": 1} or targets(preferred, view(6)) == {"a": 4, "b": 2}


def test_two_runs_of_a_queue_weigh_as_much_as_one_of_another() -> None:
    pair = [active(name, 1, workers="1:8", queue="x") for name in "ab"]
    lone = active("c", 1, workers="1:8", queue="y")
    found = targets([*pair, lone], view(8), policy=FAIR)
    assert found == {"a": 2, "b": 2, "c": 4}


def test_fair_shares_follow_the_weights() -> None:
    living = [active("a", 1, workers="1:8", queue="x"), active("b", 1, workers="1:8", queue="y")]
    assert targets(living, view(6), policy=FAIR) == {"a": 3, "b": 3}
    assert targets(living, view(6), policy=FAIR, queues=queues(x={"weight": 2.0})) == {"a": 4, "b": 2}


def test_first_come_first_served_gives_all_to_the_oldest() -> None:
    living = [
        active("young", 1, workers="1:4", started_s=-5),
        active("old", 1, workers="1:4", started_s=-50),
    ]
    assert targets(living, view(6), policy=FIFO) == {"young": 2, "old": 4}


@pytest.mark.parametrize("policy", [Policy(), FAIR, FIFO])
def test_a_decision_that_was_carried_out_is_made_again(policy: Policy) -> None:
    living = [active(name, 1, workers="1:4", queue=name) for name in "abc"]
    first = targets(living, view(3, 5), policy=policy)
    settled = [run.with_(target=first[run.id]) for run in living]
    assert targets(settled, view(3, 5), policy=policy) == first


def test_a_small_gain_moves_nobody_and_less_so_a_while_after_a_change() -> None:
    poor, same, good = {1: 1.0, 2: 0.7}, {1: 1.0, 2: 0.68}, {1: 1.0, 2: 0.5}

    def living(other: dict[int, float]) -> list[Run]:
        return [
            active("a", 2, workers="1:8", step_s=poor),
            active("b", 1, workers="1:8", step_s=other),
        ]

    assert targets(living(same), view(3)) == {"a": 2, "b": 1}, "b gains a little more by it"
    assert targets(living(good), view(3)) == {"a": 1, "b": 2}, "two thirds more"
    assert targets(living(good), view(3), unsettled=frozenset("a")) == {"a": 2, "b": 1}
    assert targets(living(good), view(4), unsettled=frozenset("ab")) == {"a": 2, "b": 2}, "what is free"
    much = [active("a", 3, workers="1:8"), active("b", 1, workers="1:8")]
    assert targets(much, view(4), unsettled=frozenset("ab")) == {"a": 2, "b": 2}, "more than twice as much"
    plan = decide([queued("c", workers=2)], living(good), view(4), unsettled=frozenset("ab"))
    assert plan.grants == {"c": 2}


def test_a_run_of_the_users_own_loop_keeps_what_it_started_with() -> None:
    stock = {"task": None, "entrypoint": "train:loop", "train": {}}
    held = active("a", 3, workers="1:4", **stock)
    plan = decide([queued("b", workers=2)], [held], view(4))
    assert (plan.targets, plan.grants) == ({}, {})


def test_who_has_less_than_it_could_use_is_told_why_and_when_that_changes() -> None:
    otter = active("brave-otter", 2, workers=2, left=480, step_s={2: 0.5}, queue="nlp")
    run = active("a", 2, workers="1:4", queue="nlp")
    plan = decide([], [otter, run], view(8), queues=queues(nlp={"CPU": 4}))
    assert plan.shares == {
        "a": "2 of 4 workers: queue nlp is at its quota; gets more when brave-otter ends, about 4 min"
    }
    assert decide([], [otter, run], view(4)).shares == {
        "a": "2 of 4 workers: the cluster's 4 CPU are in use; gets more when brave-otter ends, about 4 min"
    }
