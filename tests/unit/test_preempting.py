"""Who has to leave for whom: shrinking first, all workers last; and what becomes of runs that lost a node."""

from dataclasses import replace

from orchestrator.domain.status import EndReason
from orchestrator.ports.cluster import ClusterView
from orchestrator.scheduling.policy import Policy
from tests.unit.scheduling_cases import active, decide, queued, queues, view


def without(cluster: ClusterView, *gone: str) -> ClusterView:
    return ClusterView(tuple(replace(node, alive=node.id not in gone) for node in cluster.nodes))


def test_only_strictly_higher_priority_takes_all_workers_of_another() -> None:
    holder = active("low", 2, workers=2, priority=10)
    plan = decide([queued("high", workers=2, priority=90)], [holder], view(2))
    assert plan.preemptions == {
        "low": "high needs its 2 workers and has priority 90, this run 10; it goes on where it is as soon as "
        "there is room again"
    }
    assert (plan.grants, plan.targets) == ({}, {})
    assert plan.waits == {"high": "starts in a moment: low leaves its workers first"}
    assert decide([queued("same", workers=2, priority=10)], [holder], view(2)).preemptions == {}
    never = decide([queued("high", priority=90)], [holder], view(2), policy=Policy(preemption=False))
    assert never.preemptions == {}


def test_age_gives_a_turn_and_takes_no_workers() -> None:
    old = queued("old", workers=2, priority=10, waited_s=10**6)
    assert decide([old], [active("x", 2, workers=2, priority=20)], view(2)).preemptions == {}


def test_surplus_goes_before_anybody_is_preempted() -> None:
    elastic = active("e", 3, workers="1:3", priority=10)
    plan = decide([queued("high", workers=2, priority=90)], [elastic], view(3))
    assert (plan.preemptions, plan.targets, plan.grants) == ({}, {"e": 1}, {"high": 2})


def test_nobody_is_preempted_in_vain() -> None:
    plan = decide(
        [queued("high", workers=4, priority=90)],
        [active("low", 1, priority=10), active("r", 1, priority=90)],
        view(4),
    )
    assert plan.preemptions == {}
    assert plan.grants == {}


def test_the_lowest_priority_goes_first_then_who_started_last_and_no_more_than_needed() -> None:
    living = [
        active("mid", 1, priority=20),
        active("old", 1, priority=10, started_s=-100),
        active("new", 1, priority=10, started_s=-10),
    ]
    assert set(decide([queued("h", priority=90)], living, view(3)).preemptions) == {"new"}
    assert set(decide([queued("h", workers=2, priority=90)], living, view(3)).preemptions) == {"new", "old"}
    elsewhere = [
        active("small", 1, priority=10, started_s=-1, seats={"w0": "n0"}),
        active("large", 2, workers=2, priority=10, started_s=-2, seats={"w0": "n1", "w1": "n1"}),
    ]
    big = queued("h", priority=90, resources={"cpu": 2})
    assert set(decide([big], elsewhere, view(1, 2)).preemptions) == {"large"}


def test_while_one_leaves_nobody_else_is_asked_to() -> None:
    leaving = active("first", 1, priority=10).with_(stop=EndReason.PREEMPTED)
    plan = decide([queued("h", priority=90)], [leaving, active("other", 1, priority=10)], view(2))
    assert plan.preemptions == {}


def test_who_is_first_in_line_gets_what_is_left_for_it_and_not_one_behind() -> None:
    old = queued("old", priority=10, waited_s=10**6, queue="a")
    high = queued("high", priority=90, queue="b")
    plan = decide([high, old], [active("low", 1, priority=5)], view(1))
    assert set(plan.preemptions) == {"low"}
    assert plan.waits["old"].startswith("starts in a moment")
    assert decide([high, old], [active("mid", 1, priority=50)], view(1)).preemptions == {}, "old is first"


def test_within_a_queue_at_its_quota_the_higher_priority_goes_first_too() -> None:
    limits = queues(nlp={"CPU": 2})
    living = [active("low", 2, workers=2, priority=10, queue="nlp"), active("x", 1, priority=1)]
    plan = decide([queued("h", priority=90, queue="nlp")], living, view(8), queues=limits)
    assert set(plan.preemptions) == {"low"}


def test_a_node_that_is_gone_costs_surplus_first() -> None:
    living = [active("a", 4, workers="1:4"), active("b", 2)]
    plan = decide([], living, without(view(3, 3), "n1"))
    assert (plan.targets, plan.preemptions) == ({"a": 1}, {})


def test_a_run_without_its_minimum_waits_and_says_why() -> None:
    alone = active("a", 4, workers=4)
    plan = decide([], [alone], without(view(3, 3), "n1"))
    assert (plan.targets, plan.preemptions) == ({}, {})
    assert plan.shares == {
        "a": "it lost workers and waits for a node: can never fit: needs 4 workers of 1 CPU each; the"
        " cluster has 3 CPU on 1 node"
    }


def test_what_it_cannot_use_goes_to_those_who_can() -> None:
    alone = active("a", 4, workers=4, priority=90)
    plan = decide([queued("b", workers=2, priority=10)], [alone], without(view(3, 3), "n1"))
    assert set(plan.preemptions) == {"a"}


def test_of_two_equals_who_lost_the_node_waits() -> None:
    safe = active("z", 2, workers=2, seats={"w0": "n0", "w1": "n0"})
    hit = active("a", 2, workers=2, seats={"w0": "n1", "w1": "n0"})
    plan = decide([], [hit, safe], without(view(3, 3), "n1"))
    assert plan.preemptions == {}
    assert plan.shares == {
        "a": "needs 2 workers of 1 CPU each and lost some of them; there is no room for others now"
    }


def test_a_run_that_lost_a_node_takes_the_places_of_one_of_lower_priority() -> None:
    hit = active("a", 2, workers=2, priority=90, seats={"w0": "n1", "w1": "n0"})
    low = active("b", 2, workers=2, priority=10, seats={"w0": "n0", "w1": "n0"})
    plan = decide([], [hit, low], without(view(3, 3), "n1"))
    assert set(plan.preemptions) == {"b"}
