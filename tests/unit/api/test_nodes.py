"""Nodes that are cordoned and drained, workers that are drained and killed, through the REST interface."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import RUNS, InProcess, in_process

NODES = "/api/v1/cluster/nodes"


@pytest.fixture
async def three_nodes(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with in_process(tmp_path, 1, 2, 2) as running:
        yield running


async def nodes(service: InProcess) -> dict[str, tuple[bool, bool]]:
    """Id -> (cordoned, draining)."""
    answer = await service.client.get(NODES)
    return {node["id"]: (node["cordoned"], node["draining"]) for node in answer.json()["nodes"]}


async def said(service: InProcess, node: str, verb: str, **wish: Any) -> Any:
    return await service.client.post(f"{NODES}/{node}/{verb}", json=wish)


async def running(service: InProcess, name: str) -> dict[str, str]:
    """Worker -> node, when all of them train."""
    await service.submit(name, workers=2, train={"steps": 500, "global_batch": 8})
    for _ in range(4):
        await service.round()
    assert (await service.record.find(name)).status is RunStatus.RUNNING
    return await workers(service, name)


async def workers(service: InProcess, name: str) -> dict[str, str]:
    answer = await service.client.get(f"{RUNS}/{name}/workers")
    return {w["worker"]: w["node_id"] for w in answer.json()["workers"] if w["state"] == "training"}


async def test_a_node_is_cordoned_and_opened_again_twice_alike(service: InProcess) -> None:
    for _ in range(2):
        answer = await said(service, "node-0", "cordon")
        assert (answer.status_code, answer.json()["cordoned"]) == (200, True)
    assert await nodes(service) == {"node-0": (True, False)}
    for _ in range(2):
        assert (await said(service, "node-0", "uncordon")).json()["cordoned"] is False
    assert await nodes(service) == {"node-0": (False, False)}


@pytest.mark.parametrize("verb", ["cordon", "uncordon", "drain"])
async def test_an_unknown_node_is_refused_with_the_names_of_those_there(
    service: InProcess, verb: str
) -> None:
    answer = await said(service, "node-9", verb)
    assert (answer.status_code, answer.json()["code"]) == (404, "node-not-found")
    assert answer.json()["detail"] == "the cluster has no living node 'node-9', it has node-0 (node-0)"


async def test_the_head_is_not_drained(service: InProcess) -> None:
    answer = await said(service, "node-0", "drain")
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong-status")
    assert "is the head" in answer.json()["detail"]


@pytest.mark.parametrize("wish", [{"deadline_s": -1}, {"deadline_s": "soon"}, {"deadline": 5}])
async def test_a_drain_that_makes_no_sense_is_refused(service: InProcess, wish: dict[str, Any]) -> None:
    assert (await said(service, "node-0", "drain", **wish)).status_code == 422


async def test_a_drained_node_loses_its_workers_to_others_and_ray_is_told_once(
    three_nodes: InProcess,
) -> None:
    service = three_nodes
    before = await running(service, "otter")
    assert "node-1" in before.values()
    for _ in range(2):
        answer = await said(service, "node-1", "drain", deadline_s=60, reason="maintenance")
        assert (answer.status_code, answer.json()["draining"]) == (200, True)
    assert service.cluster.drained == {"node-1": 60.0}
    for _ in range(4):
        await service.round()
    after = await workers(service, "otter")
    assert len(after) == 2
    assert "node-1" not in after.values()
    refused = await said(service, "node-1", "uncordon")
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong-status")


async def test_a_drain_that_ray_does_not_know_of_can_be_taken_back(three_nodes: InProcess) -> None:
    service = three_nodes
    service.cluster.can_be_told = False
    await said(service, "node-1", "drain")
    assert (await nodes(service))["node-1"] == (False, True)
    assert (await said(service, "node-1", "uncordon")).status_code == 200
    assert (await nodes(service))["node-1"] == (False, False)


async def test_a_worker_is_drained_and_another_killed_once_each(service: InProcess) -> None:
    first, second = await running(service, "otter")
    for _ in range(2):
        assert (await service.client.post(f"{RUNS}/otter/workers/{first}/drain")).status_code == 202
        assert (await service.client.delete(f"{RUNS}/otter/workers/{second}")).status_code == 202
    for _ in range(4):
        await service.round()
    assert len(await workers(service, "otter")) == 2
    events = (await service.client.get(f"{RUNS}/otter/events")).json()["events"]
    kinds = [event["kind"] for event in events]
    assert [kinds.count(kind) for kind in ("worker-drain-requested", "worker-kill-requested")] == [1, 1]
    assert [kinds.count(kind) for kind in ("worker-retired", "worker-lost")] == [1, 1]
    again = await service.client.delete(f"{RUNS}/otter/workers/{second}")
    assert again.status_code == 202, "it was said before"
    other = await service.client.delete(f"{RUNS}/otter/workers/{first}")
    assert (other.status_code, other.json()["code"]) == (404, "worker-not-found")


async def test_an_unknown_worker_is_refused_with_the_names_of_those_there(service: InProcess) -> None:
    there = ", ".join(await running(service, "otter"))
    for answer in (
        await service.client.post(f"{RUNS}/otter/workers/w77/drain"),
        await service.client.delete(f"{RUNS}/otter/workers/w77"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "worker-not-found")
        assert answer.json()["detail"] == f"run otter has no worker w77 now, it has {there}"
    await service.submit("badger", workers=4)
    none = await service.client.post(f"{RUNS}/badger/workers/w1/drain")
    assert none.json()["detail"] == "run badger has no worker w1 now, it has none"
