"""Nodes that die: survivors step on within seconds, at most one step is repeated, the result is the same."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.spec import RunSpec
from tests.integration.raylets import Raylets, raylets
from tests.integration.saboteur import Watched

AGAIN_WITHIN_S = 15.0
"""The bar is 3 s after the death is seen, on a quiet machine; a group that starts anew takes a minute."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Raylets]:
    with raylets(4) as found:
        yield found


@pytest.fixture(scope="module")
def spec_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunSpec]:
    storage = tmp_path_factory.mktemp("runs")

    def make(name: str, **content: Any) -> RunSpec:
        return RunSpec.parse(
            {
                "name": name,
                "task": "tests.integration.tasks:Paced",
                "workers": "1:4",
                "model": {"pause_s": 0.01},
                "train": {"steps": 1500, "global_batch": 16, "logical_shards": 8, "evaluate_rows": 64},
                "checkpoint": {"storage": str(storage), "every": 500},
                **content,
            }
        )

    return make


@pytest.fixture(scope="module")
def undisturbed(cluster: Raylets, spec_of: Callable[..., RunSpec]) -> str:
    run = cluster.drive(spec_of("undisturbed", workers=1, model={"pause_s": 0.0}))
    run.wait(lambda: run.run.read_status().status.terminal, 120)
    digest = run.run.read_status().parameters_sha256
    assert digest
    return digest


def at_work(run: Watched, workers: int, step: int = 10) -> Callable[[], bool]:
    return lambda: len(run.members()) == workers and run.step() >= step


def node_of(run: Watched, worker: str) -> str:
    found = [e["node_id"] for e in run.events("worker-started") if e["worker"] == worker]
    return str(found[0])


def kill_nodes(cluster: Raylets, run: Watched, *nodes: str) -> float:
    """Seconds from the kill to the next step."""
    formed = len(run.events("generation-started"))
    begun = time.monotonic()
    cluster.kill(*nodes)
    run.wait(lambda: len(run.events("generation-started")) > formed)
    seen = run.step()
    run.wait(lambda: run.step() > seen)
    return time.monotonic() - begun


def proven(run: Watched, undisturbed: str, repeated: int) -> None:
    run.wait(lambda: run.run.read_status().status.terminal, 200)
    assert audit(run.run).ok
    assert run.run.read_status().parameters_sha256 == undisturbed
    assert max(e["steps_repeated"] for e in run.events("generation-started")) <= repeated


@pytest.mark.soak
def test_each_worker_node_dies_in_turn_and_then_half_of_them_at_once(
    cluster: Raylets, spec_of: Callable[..., RunSpec], undisturbed: str
) -> None:
    run = cluster.drive(spec_of("in-turn"))
    run.wait(at_work(run, 4), 90)
    took = []
    for worker in list(run.members()):
        took.append(kill_nodes(cluster, run, node_of(run, worker)))
        cluster.add()
        run.wait(lambda: len(run.members()) == 4, 60)
    halves = [node_of(run, worker) for worker in list(run.members())[:2]]
    took.append(kill_nodes(cluster, run, *halves))
    print("seconds from the kill to the next step:", [round(each, 2) for each in took])
    proven(run, undisturbed, repeated=1)
    assert max(took) <= AGAIN_WITHIN_S


@pytest.mark.soak
def test_a_replacement_finds_another_node_before_ray_knows_that_its_own_is_dead(
    cluster: Raylets, spec_of: Callable[..., RunSpec], undisturbed: str
) -> None:
    cluster.at_least(3)
    run = cluster.drive(spec_of("spare", workers="1:2"))
    run.wait(at_work(run, 2), 90)
    first = next(iter(run.members()))
    begun = time.monotonic()
    took = kill_nodes(cluster, run, node_of(run, first))
    run.wait(lambda: len(run.members()) == 2, 60)
    whole_s = time.monotonic() - begun
    print(f"{took:.2f} s to the next step, {whole_s:.2f} s to full strength")
    assert [e["worker"] for e in run.events("worker-lost")] == [first], "no replacement was lost"
    proven(run, undisturbed, repeated=1)
