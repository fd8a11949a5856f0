"""`tumbler chaos kill-node` against a run whose workers are on nodes of their own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from orchestrator.domain.run_directory import RunDirectory
from tests.integration.saboteur import Watched

ROOT = Path(__file__).parents[2]
NODES = 3


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without room for workers, and three nodes with room for one each."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(NODES):
            cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


def tumbler(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "api.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def reap_raylets(cluster: Cluster) -> None:
    """They are children of this process; workers take a zombie for a raylet that lives."""
    for node in cluster.worker_nodes:
        for raylet in node.all_processes.get("raylet", ()):
            raylet.process.poll()


@pytest.mark.long
def test_a_killed_node_takes_its_worker_and_the_run_goes_on_elsewhere(
    cluster: Cluster, tmp_path: Path
) -> None:
    spec: dict[str, Any] = {
        "name": "on-nodes",
        "task": "tests.integration.tasks:Paced",
        "workers": "1:2",
        "model": {"pause_s": 0.02},
        "train": {"steps": 150, "global_batch": 16, "logical_shards": 8},
        "checkpoint": {"storage": str(tmp_path), "every": 20},
    }
    (tmp_path / "run.json").write_text(json.dumps(spec))
    training = tumbler("run", "-f", str(tmp_path / "run.json"), RAY_ADDRESS=str(cluster.address))
    try:
        run = Watched(RunDirectory(tmp_path / "on-nodes"))
        run.wait(lambda: run.run.status_path.is_file() and run.step() >= 5, timeout_s=90)
        drill = tumbler("chaos", "kill-node", str(run.run.path), "--check", "-o", "json")
        while drill.poll() is None:
            reap_raylets(cluster)
            time.sleep(0.05)
        said, trouble = drill.communicate()
        assert drill.returncode == 0, trouble + said
        training.wait(timeout=30)
    finally:
        training.kill()
    killed = json.loads(said)
    assert len(killed["workers"]) == 1
    # A replacement may be given the place on the dead node, until Ray notices.
    assert killed["workers"] == [event["worker"] for event in run.events("worker-lost")][:1]
    assert killed["next_step_s"] < 60
    invariants = killed["invariants"]
    assert (invariants["ok"], invariants["steps"], invariants["rows_missed"]) == (True, 150, 0)
