"""`tumbler chaos kill-node` against a run whose workers are on nodes of their own."""

import json
import os
import subprocess
import sys
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
def ray_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a head without room for workers and three nodes with room for one each."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(NODES):
            cluster.add_node(num_cpus=1)
        yield str(cluster.address)
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


def test_a_killed_node_takes_its_worker_and_the_run_goes_on_elsewhere(
    ray_address: str, tmp_path: Path
) -> None:
    spec: dict[str, Any] = {
        "name": "on-nodes",
        "task": "tests.integration.tasks:Paced",
        "workers": 2,
        "model": {"pause_s": 0.02},
        "train": {"steps": 150, "global_batch": 16, "logical_shards": 8},
        "checkpoint": {"storage": str(tmp_path), "every": 20},
    }
    (tmp_path / "run.json").write_text(json.dumps(spec))
    training = tumbler("run", "-f", str(tmp_path / "run.json"), RAY_ADDRESS=ray_address)
    try:
        run = Watched(RunDirectory(tmp_path / "on-nodes"))
        run.wait(lambda: run.run.status_path.is_file() and run.step() >= 5, timeout_s=90)
        drill = tumbler("chaos", "kill-node", str(run.run.path), "--check", "-o", "json")
        said, trouble = drill.communicate(timeout=150)
        assert drill.returncode == 0, trouble
        training.wait(timeout=30)
    finally:
        training.kill()
    killed = json.loads(said)
    assert len(killed["workers"]) == 1
    assert killed["workers"] == [event["worker"] for event in run.events("worker-lost")]
    assert killed["next_step_s"] < 60
    invariants = killed["invariants"]
    assert (invariants["ok"], invariants["steps"], invariants["rows_missed"]) == (True, 150, 0)
    nodes = {event["node_id"] for event in run.events("worker-started")}
    assert len(nodes) == NODES
