"""Who starts, who makes room, and what those who wait are told."""

from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.events import timestamp
from orchestrator.domain.status import EndReason, RunStatus
from orchestrator.ports.cluster import ClusterView
from orchestrator.scheduling.planning import Plan
from orchestrator.scheduling.policy import Policy
from tests.unit.scheduling_cases import active, decide, queued, queues, view
from tests.unit.service_world import NOW


def test_a_lone_run_gets_as_many_workers_as_fit() -> None:
    assert decide([queued("a", workers="1:8")], [], view(2, 2)).grants == {"a": 4}
    assert decide([queued("a", workers="1:3")], [], view(2, 2)) == Plan({"a": 3})


def test_two_elastic_runs_start_with_a_fair_part_each() -> None:
    plan = decide([queued("a", workers="1:4"), queued("b", workers="1:4")], [], view(4))
    assert plan.grants == {"a": 2, "b": 2}


def test_a_run_that_waits_takes_surplus_and_nobody_restarts() -> None:
    plan = decide([queued("b", workers="1:4")], [active("a", 4, workers="1:4")], view(4))
    assert (plan.grants, plan.targets, plan.preemptions) == ({"b": 2}, {"a": 2}, {})


def test_even_a_run_of_lower_priority_gets_its_fewest_workers_from_surplus() -> None:
    rich = active("a", 4, workers="1:4", priority=90)
    plan = decide([queued("b", workers=2, priority=10)], [rich], view(4))
    assert (plan.grants, plan.targets, plan.preemptions) == ({"b": 2}, {"a": 2}, {})


def test_a_gang_is_granted_whole_or_not_and_its_places_are_kept_for_it() -> None:
    runs = [queued("a", workers=3), queued("b"), queued("c"), queued("d", queue="other", priority=9)]
    plan = decide(runs, [active("brave-otter", 2)], view(4))
    assert plan.grants == {}
    assert plan.waits == {
        "a": "needs 3 workers of 1 CPU each; 2 of 4 CPU are free, brave-otter holds 2",
        "b": "1 run of queue default goes before it",
        "c": "2 runs of queue default go before it",
        "d": "the places that are free are kept for a, which goes before it",
    }


def test_what_is_kept_for_a_gang_is_lent_to_those_who_train() -> None:
    plan = decide([queued("a", workers=4)], [active("e", 1, workers="1:4"), active("r", 1)], view(4))
    assert (plan.grants, plan.targets) == ({}, {"e": 3})


def test_it_is_said_by_whose_end_a_run_starts_and_about_when() -> None:
    holder = active("brave-otter", 2, workers=2, left=480, step_s={2: 0.5})
    slow = active("slow", 2, workers=2, left=9000, step_s={2: 1.0})
    plan = decide([queued("a", workers=2)], [holder, slow], view(4))
    assert plan.waits["a"] == (
        "needs 2 workers of 1 CPU each; 0 of 4 CPU are free, brave-otter holds 2, slow holds 2; starts when "
        "brave-otter ends, about 4 min"
    )


def test_a_run_that_can_never_fit_says_so_and_blocks_nobody() -> None:
    runs = [queued("a", workers=5), queued("b", resources={"cpu": 3}), queued("c")]
    plan = decide(runs, [], view(2, 2))
    assert plan.grants == {"c": 1}
    assert plan.waits == {
        "a": "can never fit: needs 5 workers of 1 CPU each; the cluster has 4 CPU on 2 nodes, at most 2 CPU"
        " on one",
        "b": "can never fit: needs 1 worker of 3 CPU; the cluster has 4 CPU on 2 nodes, at most 2 CPU on one",
    }
    assert set(plan.hopeless.values()) == set(plan.waits.values())
    assert decide([queued("a", workers=5)], [], view(4, autoscaled=True)).waits == {
        "a": "needs 5 workers of 1 CPU each; 4 of 4 CPU are free"
    }


def test_a_cordoned_node_takes_nobody_new_and_is_named() -> None:
    cluster = view(2, 2)
    cordoned = ClusterView((cluster.nodes[0], replace(cluster.nodes[1], cordoned=True)))
    assert decide([queued("a", workers="1:4")], [], cordoned).grants == {"a": 2}
    plan = decide([queued("a", workers=3)], [], cordoned)
    assert plan.waits == {"a": "needs 3 workers of 1 CPU each; n1 takes no new workers now"}
    seated = active("a", 4, workers="1:4", seats={"w0": "n0", "w1": "n1", "w2": "n1", "w3": "n0"})
    assert decide([], [seated], cordoned).targets == {}, "those who are there stay"


def test_who_is_on_a_draining_node_moves_where_there_is_room_and_shrinks_where_there_is_none() -> None:
    cluster = view(2, 2)
    draining = ClusterView((cluster.nodes[0], replace(cluster.nodes[1], draining=True)))
    seats = {"w0": "n0", "w1": "n1", "w2": "n1", "w3": "n0"}
    assert decide([], [active("a", 4, workers="1:4", seats=seats)], draining).targets == {"a": 2}
    assert decide([], [active("a", 4, seats=seats)], draining).targets == {}, "it cannot do without"
    moving = active("a", 1, seats={"w0": "n1"})
    assert decide([queued("b", workers=2)], [moving], draining).grants == {}, "a place of n0 is for a"


def test_without_a_living_node_everybody_waits_for_one() -> None:
    plan = decide([queued("a")], [], ClusterView(()))
    assert plan == Plan(waits={"a": "needs 1 worker of 1 CPU; no node of the cluster is alive"})


def test_the_feed_has_its_own_claim() -> None:
    run = queued("a", workers="1:4", data={"cpus": 1})
    assert decide([run], [], view(4)).grants == {"a": 3}
    assert decide([run], [], view(1)).waits == {
        "a": "can never fit: needs 1 worker of 1 CPU, and 1 CPU for its data; the cluster has 1 CPU on 1 node"
    }


def test_free_parts_on_several_nodes_make_no_whole() -> None:
    spread = [active("x", 1, resources={"cpu": 1.5}), active("y", 1, resources={"cpu": 1.5})]
    plan = decide([queued("a", resources={"cpu": 1})], spread, view(2, 2))
    assert plan.waits["a"].startswith("needs 1 worker of 1 CPU; 1 of 4 CPU are free, at most 0.5 on one node")


def test_workers_are_counted_where_they_are() -> None:
    """First fit would put both on n0, and find 2 CPUs free on n1."""
    living = [active("x", 1, seats={"w0": "n0"}), active("y", 1, seats={"w0": "n1"})]
    assert decide([queued("a", resources={"cpu": 2})], living, view(2, 2)).grants == {}
    together = [active("x", 1, seats={"w0": "n1"}), active("y", 1, seats={"w0": "n1"})]
    assert decide([queued("a", resources={"cpu": 2})], together, view(2, 2)).grants == {"a": 1}


def test_labels_and_memory_and_gpus_count() -> None:
    on_a = queued("a", resources={"labels": {"zone": "a"}}, workers=2)
    assert decide([on_a], [], view(2, 8, zone="a")).grants == {"a": 2}
    assert (
        "2 workers of 1 CPU each on nodes with zone=a" in decide([on_a], [], view(1, 8, zone="a")).waits["a"]
    )
    gpu = {"CPU": 8.0, "GPU": 1.0, "memory": 4.0 * 2**30}
    both = queued("b", resources={"gpu": 1}, workers=1)
    assert decide([both], [active("g", 1, resources={"gpu": 1})], view(gpu)).waits == {
        "b": "needs 1 worker of 1 CPU and 1 GPU; 0 of 1 GPU are free, g holds 1"
    }
    memory = queued("c", resources={"memory": "3Gi"})
    assert decide([memory], [active("m", 1, resources={"memory": "2Gi"})], view(gpu)).waits == {
        "c": "needs 1 worker of 1 CPU and 3 GiB of memory; 2 GiB of 4 GiB of memory is free, m holds 2 GiB"
    }


def test_many_holders_are_summed_up() -> None:
    holders = [active(name, 1) for name in "vwxyz"]
    assert (
        decide([queued("a", workers=2)], holders, view(6))
        .waits["a"]
        .endswith("1 of 6 CPU are free, v holds 1, w holds 1, x holds 1 and 2 more hold 2")
    )


def test_a_queue_holds_no_more_than_its_quota_and_keeps_no_other_waiting() -> None:
    limits = queues(nlp={"CPU": 2})
    runs = [queued("a", queue="nlp", workers=2), queued("b", queue="vision")]
    holder = active("x", 1, queue="nlp", left=40, step_s={1: 1.0})
    plan = decide(runs, [holder], view(8), queues=limits)
    assert plan.grants == {"b": 1}
    assert plan.waits == {
        "a": "queue nlp is at its quota: it holds 1 of 2 CPU and this one needs 2; starts when x ends, about"
        " 40 s"
    }
    assert decide([queued("c", queue="nlp", workers="1:8")], [], view(8), queues=limits).grants == {"c": 2}
    workers = queues(nlp={"workers": 3})
    assert decide([queued("c", queue="nlp", workers="1:8")], [], view(8), queues=workers).grants == {"c": 3}


def test_a_run_larger_than_its_quota_says_so_and_keeps_nobody_waiting() -> None:
    runs = [queued("a", queue="nlp", workers=3), queued("b", queue="nlp")]
    plan = decide(runs, [], view(8), queues=queues(nlp={"CPU": 2}))
    assert plan.grants == {"b": 1}
    assert plan.waits == {"a": "its smallest group needs 3 CPU and queue nlp may hold 2 CPU in all"}


def test_waiting_raises_the_merit() -> None:
    old = queued("old", priority=10, waited_s=3000)
    runs = [queued("new", priority=15), old]
    assert decide(runs, [], view(1)).grants == {"old": 1}, "10 points in 3000 s"
    assert decide(runs, [], view(1), policy=Policy(ageing_s=0)).grants == {"new": 1}
    again = old.with_(waits_since=timestamp(NOW - timedelta(seconds=60)))
    assert decide([runs[0], again], [], view(1)).grants == {"new": 1}, "it trained meanwhile"


def test_of_equal_merit_the_queue_that_holds_less_for_its_weight_goes_first() -> None:
    runs = [queued("a", queue="rich", waited_s=9), queued("b", queue="poor")]
    living = [active("x", 2, queue="rich"), active("y", 1, queue="poor")]
    assert decide(runs, living, view(4)).grants == {"b": 1}
    weights = queues(rich={"weight": 4.0})
    assert decide(runs, living, view(4), queues=weights).grants == {"a": 1}


def test_a_back_off_does_not_cost_a_run_its_turn() -> None:
    later = timestamp(NOW + timedelta(seconds=3))
    first = queued("a", priority=60, workers=2).with_(not_before=later, attempt=1)
    plan = decide([first, queued("b")], [active("e", 2, workers="1:4")], view(3))
    assert (plan.grants, plan.targets) == ({}, {"e": 1}), "its places are neither granted nor lent"
    assert decide([first, queued("b")], [], view(3)).grants == {"b": 1}
    due = first.with_(not_before=timestamp(NOW))
    assert decide([due, queued("b")], [], view(2)).grants == {"a": 2}


def test_those_who_leave_hold_their_places_until_they_are_gone() -> None:
    pausing = active("p", 3).with_(status=RunStatus.PAUSING)
    stopping = active("s", 3).with_(stop=EndReason.DEADLINE_EXCEEDED)
    for leaving in (pausing, stopping):
        plan = decide([queued("a", workers=2)], [leaving, active("e", 1, workers="1:4")], view(4))
        assert (plan.grants, plan.targets) == ({}, {}), "nor is what is free lent meanwhile"
        assert plan.waits == {"a": f"starts in a moment: {leaving.name} leaves its workers first"}


def test_a_run_scaled_to_a_greater_minimum_trains_on_until_it_gets_it() -> None:
    scaled = active("s", 1, workers="1:3").with_(workers_min=2)
    assert decide([], [scaled, active("e", 3, workers="1:4")], view(4)).targets == {"s": 2, "e": 2}
    plan = decide([], [scaled, active("r", 3)], view(4))
    assert (plan.targets, plan.shares["s"]) == ({}, "1 of 2 workers: there is no room for the others")
