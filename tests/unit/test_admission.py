"""Who starts, who grows, and what those who wait are told."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.lifecycle import new_run
from orchestrator.domain.runs import Run
from orchestrator.domain.status import EndReason, RunStatus
from orchestrator.ports.cluster import ClusterView, Node
from orchestrator.scheduling.admission import Plan, admit
from tests.unit.service_world import NOW, spec_of


def view(*nodes: float | dict[str, float], autoscaled: bool = False, **labels: str) -> ClusterView:
    """A number is so many CPUs; the labels are those of the first node."""
    resources = [each if isinstance(each, dict) else {"CPU": float(each)} for each in nodes]
    return ClusterView(
        tuple(
            Node(f"n{index}", "127.0.0.1", f"n{index}", True, index == 0, each, {} if index else labels)
            for index, each in enumerate(resources)
        ),
        autoscaled,
    )


def queued(name: str, **content: Any) -> Run:
    return new_run(spec_of(name, **content), now=NOW, run_id=name).run


def active(name: str, target: int, **content: Any) -> Run:
    return queued(name, **content).with_(status=RunStatus.RUNNING, attempt=1, target=target)


def test_a_lone_run_gets_as_many_workers_as_fit() -> None:
    assert admit([queued("a", workers="1:8")], [], view(2, 2)) == Plan({"a": 4})
    assert admit([queued("a", workers="1:3")], [], view(2, 2)) == Plan({"a": 3})


def test_two_elastic_runs_both_start_and_the_first_gets_the_rest() -> None:
    plan = admit([queued("a", workers="1:4"), queued("b", workers="1:4")], [], view(4))
    assert plan.grants == {"a": 3, "b": 1}


def test_a_gang_is_granted_whole_or_not_and_keeps_those_behind_it_waiting() -> None:
    runs = [queued("a", workers=3), queued("b"), queued("c"), queued("d", queue="other")]
    plan = admit(runs, [active("brave-otter", 2)], view(4))
    assert plan.grants == {"d": 1}
    assert plan.waits == {
        "a": "needs 3 workers of 1 CPU each; 2 of 4 CPU are free, brave-otter holds 2",
        "b": "1 run with higher or equal priority is ahead of it",
        "c": "2 runs with higher or equal priority are ahead of it",
    }


def test_a_run_that_can_never_fit_says_so_and_blocks_nobody() -> None:
    runs = [queued("a", workers=5), queued("b", resources={"cpu": 3}), queued("c")]
    plan = admit(runs, [], view(2, 2))
    assert plan.grants == {"c": 1}
    assert plan.waits == {
        "a": "can never fit: needs 5 workers of 1 CPU each; the cluster has 4 CPU on 2 nodes, at most 2 CPU"
        " on one",
        "b": "can never fit: needs 1 worker of 3 CPU; the cluster has 4 CPU on 2 nodes, at most 2 CPU on one",
    }
    assert admit([queued("a", workers=5)], [], view(4, autoscaled=True)).waits == {
        "a": "needs 5 workers of 1 CPU each; 4 of 4 CPU are free"
    }


def test_without_a_living_node_everybody_waits_for_one() -> None:
    plan = admit([queued("a")], [], ClusterView(()))
    assert plan == Plan({}, {}, {"a": "needs 1 worker of 1 CPU; no node of the cluster is alive"})


def test_the_feed_has_its_own_claim() -> None:
    run = queued("a", workers="1:4", data={"cpus": 1})
    assert admit([run], [], view(4)).grants == {"a": 3}
    assert admit([run], [], view(1)).waits == {
        "a": "can never fit: needs 1 worker of 1 CPU, and 1 CPU for its data; the cluster has 1 CPU on 1 node"
    }


def test_free_parts_on_several_nodes_make_no_whole() -> None:
    halves = [active("x", 1), active("y", 1)]
    run = queued("a", resources={"cpu": 2})
    plan = admit([run], [*halves, active("z", 1)], view(2, 2))
    assert plan.waits == {
        "a": "needs 1 worker of 2 CPU; 1 of 4 CPU are free, x holds 1, y holds 1, z holds 1"
    }
    spread = [active("x", 1, resources={"cpu": 1.5}), active("y", 1, resources={"cpu": 1.5})]
    plan = admit([queued("a", resources={"cpu": 1})], spread, view(2, 2))
    assert plan.waits["a"].startswith("needs 1 worker of 1 CPU; 1 of 4 CPU are free, at most 0.5 on one node")


def test_labels_and_memory_and_gpus_count() -> None:
    on_a = queued("a", resources={"labels": {"zone": "a"}}, workers=2)
    assert admit([on_a], [], view(2, 8, zone="a")).grants == {"a": 2}
    assert (
        "2 workers of 1 CPU each on nodes with zone=a" in admit([on_a], [], view(1, 8, zone="a")).waits["a"]
    )
    gpu = {"CPU": 8.0, "GPU": 1.0, "memory": 4.0 * 2**30}
    both = queued("b", resources={"gpu": 1}, workers=1)
    assert admit([both], [active("g", 1, resources={"gpu": 1})], view(gpu)).waits == {
        "b": "needs 1 worker of 1 CPU and 1 GPU; 0 of 1 GPU are free, g holds 1"
    }
    memory = queued("c", resources={"memory": "3Gi"})
    assert admit([memory], [active("m", 1, resources={"memory": "2Gi"})], view(gpu)).waits == {
        "c": "needs 1 worker of 1 CPU and 3 GiB of memory; 2 GiB of 4 GiB of memory is free, m holds 2 GiB"
    }


def test_many_holders_are_summed_up() -> None:
    holders = [active(name, 1) for name in "vwxyz"]
    assert (
        admit([queued("a", workers=2)], holders, view(6))
        .waits["a"]
        .endswith("1 of 6 CPU are free, v holds 1, w holds 1, x holds 1 and 2 more hold 2")
    )


def test_when_nobody_waits_living_runs_grow_by_priority() -> None:
    low, high = active("a", 1, workers="1:4", priority=10), active("b", 1, workers="1:2", priority=90)
    assert admit([], [low, high], view(4)).targets == {"b": 2, "a": 2}
    stopping = low.with_(stop=EndReason.DEADLINE_EXCEEDED)
    pausing = high.with_(status=RunStatus.PAUSING)
    assert admit([], [stopping, pausing], view(4)).targets == {}
    assert admit([queued("c", workers=3)], [low], view(3)).targets == {}
    assert admit([queued("c", workers=8)], [low], view(4)).targets == {"a": 4}, "c never fits: nobody waits"


RUN = st.fixed_dictionaries(
    {
        "low": st.integers(1, 4),
        "more": st.integers(0, 4),
        "cpu": st.sampled_from([0.5, 1, 2]),
        "feed": st.sampled_from([0, 1]),
        "priority": st.integers(0, 3),
        "queue": st.sampled_from(["default", "other"]),
    }
)


def drawn(name: str, wanted: dict[str, Any]) -> Run:
    return queued(
        name,
        workers=[wanted["low"], wanted["low"] + wanted["more"]],
        resources={"cpu": wanted["cpu"]},
        data={"cpus": wanted["feed"]},
        priority=wanted["priority"],
        queue=wanted["queue"],
    )


def claim(run: Run, workers: int) -> float:
    spec = run.spec
    return workers * spec.resources.cpu + (spec.data.cpus or 0.0)


@settings(max_examples=100, deadline=None)
@given(
    waiting=st.lists(RUN, max_size=6),
    living=st.lists(RUN, max_size=3),
    cpus=st.lists(st.integers(0, 4), max_size=4),
)
def test_no_more_is_granted_than_there_is_and_everybody_gets_a_gang_or_a_sentence(
    waiting: list[dict[str, Any]], living: list[dict[str, Any]], cpus: list[int]
) -> None:
    queue = sorted(
        (drawn(f"q{index}", each) for index, each in enumerate(waiting)), key=lambda run: -run.priority
    )
    runs = [drawn(f"a{index}", each) for index, each in enumerate(living)]
    holding = [run.with_(status=RunStatus.RUNNING, target=run.workers_min) for run in runs]
    plan = admit(queue, holding, view(*cpus))
    by_id = {run.id: run for run in (*queue, *holding)}
    assert plan.grants.keys() | plan.waits.keys() == {run.id for run in queue}
    assert not plan.grants.keys() & plan.waits.keys()
    for run_id, target in {**plan.grants, **plan.targets}.items():
        assert by_id[run_id].workers_min <= target <= by_id[run_id].workers_max
    held = sum(claim(run, run.target) for run in holding)
    granted = sum(claim(by_id[run_id], target) for run_id, target in plan.grants.items())
    raised = sum(
        claim(by_id[i], target) - claim(by_id[i], by_id[i].target) for i, target in plan.targets.items()
    )
    assert granted + raised <= max(0.0, sum(cpus) - held) + 1e-6
    assert all(target > by_id[run_id].target for run_id, target in plan.targets.items())
    blocked = {run.queue: run for run in reversed(queue) if plan.waits.get(run.id, "").startswith("needs")}
    for queue_name, first in blocked.items():
        behind = [run for run in queue[queue.index(first) + 1 :] if run.queue == queue_name]
        assert not plan.grants.keys() & {run.id for run in behind}, "somebody overtook"
    if blocked:
        assert plan.targets == {}
