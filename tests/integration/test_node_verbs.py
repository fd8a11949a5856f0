"""What is said of nodes, on a head of our own with a second raylet: Ray is told, and the view shows it."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.home_cluster import HomeCluster
from cluster.daemons import MARK
from cluster.head import Head, start_head
from orchestrator.domain.errors import ClusterUnavailable, WrongStatus
from orchestrator.ports.cluster import Node
from orchestrator.services.nodes import NodeService
from orchestrator.store.memory import MemoryRecord
from tests.integration.processes import environment_without_ray


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """With a token, and a node of one CPU beside it."""
    home = Path(tempfile.mkdtemp(prefix="tumbler-home-"))
    head = start_head(home, num_cpus=0, num_gpus=0, auth="token")
    words = [str(Path(sys.executable).with_name("ray")), "start", f"--address={head.address}", "--num-cpus=1"]
    env = environment_without_ray() | dict(head.env) | {MARK: head.id, "RAY_USAGE_STATS_ENABLED": "0"}
    with (home / "node.log").open("wb") as log:
        subprocess.run(words, env=env, check=True, start_new_session=True, timeout=60, stdout=log, stderr=log)
    yield head
    head.stop()
    assert not head.household().look()
    shutil.rmtree(home)


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.2)


async def test_nodes_are_cordoned_and_drained_and_ray_is_told(head: Head) -> None:
    cluster = HomeCluster("local", Path(head.home))
    record = MemoryRecord()
    nodes = NodeService(record, cluster, wake=lambda: None)

    def worker() -> Node | None:
        return next((node for node in cluster.view().nodes if not node.head and node.alive), None)

    wait_until(lambda: worker() is not None)
    beside = worker()
    assert beside is not None
    assert (await nodes.cordon(beside.id[:10])).cordoned
    assert not (await nodes.uncordon(beside.id)).cordoned
    here = next(node for node in (await nodes.view()).nodes if node.head)
    assert (await nodes.cordon(here.id)).cordoned, "its own workers may be kept off"
    with pytest.raises(WrongStatus, match="is the head"):
        await nodes.drain(here.id)
    assert (await nodes.drain(beside.id, deadline_s=30.0, reason="maintenance")).draining
    assert (await record.node_marks())[beside.id].told_ray
    # Ray ends a node that drains as soon as nothing runs there.
    wait_until(lambda: worker() is None)


def test_a_drain_that_ray_does_not_take_is_an_error_in_one_sentence(head: Head) -> None:
    with pytest.raises(ClusterUnavailable, match="did not take a drain"):
        HomeCluster("local", Path(head.home)).drain("no such node", 5.0, "a mistake")
