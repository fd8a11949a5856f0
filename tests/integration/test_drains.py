"""Workers that leave politely, and nodes where none may start: no step is ever repeated."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.spec import RunSpec
from tests.integration.raylets import Raylets, raylets
from tests.integration.saboteur import Watched
from tests.integration.test_nodes import at_work, node_of


@pytest.fixture(scope="module")
def cluster() -> Iterator[Raylets]:
    with raylets(3) as found:
        yield found


@pytest.fixture
def spec_of(tmp_path: Any) -> Callable[..., RunSpec]:
    def make(name: str, **content: Any) -> RunSpec:
        return RunSpec.parse(
            {
                "name": name,
                "task": "tests.integration.tasks:Paced",
                "workers": "1:2",
                "model": {"pause_s": 0.01},
                "train": {"steps": 700, "global_batch": 16, "logical_shards": 8, "evaluate_rows": 64},
                "checkpoint": {"storage": str(tmp_path), "every": 100_000},
                **content,
            }
        )

    return make


def ends_well(run: Watched, *, losses: int = 0) -> None:
    """Nothing repeated but what losses cost."""
    run.wait(lambda: run.run.read_status().status.terminal, 120)
    assert run.run.read_status().reason == "Finished"
    repeated = [e["steps_repeated"] for e in run.events("generation-started")]
    assert sum(repeated) <= losses, repeated
    assert len(run.events("worker-lost")) == losses
    assert audit(run.run).ok


@pytest.mark.long
def test_a_drained_node_is_left_after_its_replacement_came(
    cluster: Raylets, spec_of: Callable[..., RunSpec]
) -> None:
    cluster.at_least(3)
    run = cluster.drive(spec_of("moves"))
    run.wait(at_work(run, 2), 90)
    first = next(iter(run.members()))
    node = node_of(run, first)
    cluster.tell_drain(node, within_s=60.0)
    run.wait(lambda: first not in run.members(), 60)
    assert len(run.members()) == 2, "the replacement came first"
    run.wait(lambda: bool(run.events("worker-retired")))
    cluster.forget(node)
    assert [e["worker"] for e in run.events("drain-noticed")] == [first]
    assert not run.events("drain-overdue")
    ends_well(run)


@pytest.mark.long
def test_where_no_replacement_comes_the_group_saves_a_checkpoint_and_goes_on_when_there_is_room(
    cluster: Raylets, spec_of: Callable[..., RunSpec]
) -> None:
    cluster.at_least(2)
    while len(cluster.nodes) > 2:
        cluster.forget(next(iter(cluster.nodes)))
    run = cluster.drive(spec_of("waits", workers=2))
    run.wait(at_work(run, 2), 90)
    node = node_of(run, next(iter(run.members())))
    cluster.tell_drain(node, within_s=8.0)
    run.wait(lambda: len(run.events("worker-retired")) == 2, 30)
    (overdue,) = run.events("drain-overdue")
    assert "all save a checkpoint" in overdue["message"]
    (saved,) = run.events("checkpoint-committed")
    cluster.forget(node)
    cluster.add()
    run.wait(lambda: len(run.events("generation-started")) > 1, 60)
    again = run.events("generation-started")[-1]
    assert again["step"] == saved["step"]
    assert again["source"] not in run.members(), "from the checkpoint"
    ends_well(run)


@pytest.mark.long
def test_a_worker_is_drained_and_another_killed_by_orders_once_each(
    cluster: Raylets, spec_of: Callable[..., RunSpec]
) -> None:
    cluster.at_least(3)
    run = cluster.drive(spec_of("orders"))
    run.wait(at_work(run, 2), 90)
    first, second = run.members()
    cluster.order(run.run, target=2, drain_workers=(first,))
    run.wait(lambda: first not in run.members(), 60)
    wishes = {"drain_workers": (first,), "kill_workers": (second,)}
    cluster.order(run.run, target=2, **wishes)
    run.wait(lambda: bool(run.events("worker-lost")), 20)
    assert run.events("worker-killed")[0]["worker"] == second
    run.wait(at_work(run, 2), 60)
    cluster.order(run.run, target=1, **wishes)  # the same wishes among other orders
    ends_well(run, losses=1)
    assert len(run.events("worker-killed")) == 1


@pytest.mark.long
def test_a_worker_alone_hands_its_state_over_before_it_leaves(
    cluster: Raylets, spec_of: Callable[..., RunSpec]
) -> None:
    cluster.at_least(2)
    train = {"steps": 350, "global_batch": 16, "logical_shards": 8}
    run = cluster.drive(spec_of("alone", workers=1, train=train))
    run.wait(at_work(run, 1), 90)
    cluster.order(run.run, target=1, drain_workers=("w1",))
    run.wait(lambda: set(run.members()) == {"w2"}, 60)
    met, alone = run.events("generation-started")[1:3]
    assert (met["workers"], met["source"]) == (["w1", "w2"], "w1")
    assert alone["source"] == "w2"
    ends_well(run)


@pytest.mark.long
def test_nobody_starts_on_a_closed_node_until_it_is_opened(
    cluster: Raylets, spec_of: Callable[..., RunSpec]
) -> None:
    cluster.at_least(3)
    run = cluster.drive(spec_of("closed", train={"steps": 1500, "global_batch": 16, "logical_shards": 8}))
    run.wait(at_work(run, 2), 90)
    everywhere = tuple(cluster.nodes)
    cluster.order(run.run, target=2, closed_nodes=everywhere)
    time.sleep(1.0)  # it is read five times a second
    assert len(run.members()) == 2, "who is there stays"
    cluster.order(run.run, target=3, closed_nodes=everywhere)
    time.sleep(4.0)
    assert len(run.events("worker-started")) == 2
    free = next(node for node in everywhere if node not in {node_of(run, w) for w in run.members()})
    cluster.order(run.run, target=3, closed_nodes=tuple(node for node in everywhere if node != free))
    run.wait(lambda: len(run.members()) == 3, 60)
    assert node_of(run, list(run.members())[-1]) == free
    ends_well(run)


def test_a_label_leads_to_the_node_that_carries_it(cluster: Raylets, spec_of: Callable[..., RunSpec]) -> None:
    cluster.at_least(2)
    labelled = cluster.add(labels={"disk": "fast"}, num_gpus=1)
    resources = {"labels": {"disk": "fast"}}
    run = cluster.drive(spec_of("labelled", workers=1, resources=resources, train={"steps": 20}))
    run.wait(lambda: run.run.read_status().status.terminal, 90)
    assert node_of(run, "w1") == labelled
    gpus = cluster.drive(spec_of("gpu", workers=1, resources={"gpu": 1, "cpu": 0}, train={"steps": 20}))
    gpus.wait(lambda: bool(gpus.events("worker-started")), 90)
    assert node_of(gpus, "w1") == labelled
