"""A cluster of several raylets on this machine, and runs on it whose drivers are processes of their own."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from cluster.drains import tell_drain
from orchestrator.domain.orders import Orders
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from tests.integration.processes import environment_without_ray
from tests.integration.saboteur import Watched

ROOT = Path(__file__).parents[2]


@dataclass
class Raylets:
    """The head has no CPU, so it holds the controller and no worker; every node beside it holds one.

    Nothing of it touches the Ray that the test process may be connected to.
    """

    cluster: Cluster
    nodes: dict[str, Any] = field(default_factory=dict)
    """Node id -> node, of those that were added and not killed."""
    drivers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, num_cpus: int = 1, labels: Mapping[str, str] | None = None, **more: Any) -> str:
        node = self.cluster.add_node(num_cpus=num_cpus, labels=dict(labels or {}), **more)
        self.nodes[node.node_id] = node
        return str(node.node_id)

    def kill(self, *node_ids: str) -> None:
        """SIGKILL raylets, all at once. What runs there ends when it notices, for it watches its raylet."""
        raylets = [self.nodes[node_id].all_processes["raylet"][0].process for node_id in node_ids]
        for raylet in raylets:
            raylet.send_signal(signal.SIGKILL)
        for raylet, node_id in zip(raylets, node_ids, strict=True):
            raylet.wait()  # a zombie counts as alive
            self.cluster.worker_nodes.discard(self.nodes.pop(node_id))

    def at_least(self, num_nodes: int) -> None:
        """Add nodes until there are so many."""
        while len(self.nodes) < num_nodes:
            self.add()

    def tell_drain(self, node_id: str, within_s: float | None = None) -> None:
        """By `ray drain-node`."""
        tell_drain(self.address, {"RAY_AUTH_MODE": "disabled"}, node_id, within_s, "a spot notice")

    def forget(self, node_id: str) -> None:
        """A drained node: its machine goes away."""
        self.cluster.remove_node(self.nodes.pop(node_id), allow_graceful=False)

    def drive(self, spec: RunSpec, **orders: Any) -> Watched:
        """Begin a run as a service does: with orders, and a driver."""
        run = RunDirectory.begin(Path(spec.checkpoint.storage), spec, 1)
        self.order(run, **{"target": spec.workers.max, **orders})
        environment = environment_without_ray() | {"RAY_ADDRESS": self.address, "PYTHONPATH": str(ROOT)}
        words = ["-m", "trainers.driver", str(run.path), "--attempt", "1", "--driver", "1"]
        log = (run.path / "driver.log").open("wb")
        with log:
            self.drivers.append(
                subprocess.Popen(
                    [sys.executable, *words], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
                )
            )
        return Watched(run)

    def order(self, run: RunDirectory, **orders: Any) -> None:
        """Replace the orders of a run."""
        run.write_orders(Orders(**{"attempt": 1, "workers_min": run.spec().workers.min, **orders}))


@contextmanager
def raylets(num_nodes: int, **head: Any) -> Iterator[Raylets]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
        }.items():
            patch.setenv(name, value)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                **head,
            },
            shutdown_at_exit=False,
        )
        here = Raylets(cluster)
        try:
            for _ in range(num_nodes):
                here.add()
            yield here
        finally:
            for driver in here.drivers:
                driver.kill()
                driver.wait()
            cluster.shutdown()
