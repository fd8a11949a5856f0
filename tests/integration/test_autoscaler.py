"""The autoscaler of Ray sees what runs want by the places they wait for: a node comes, the worker joins."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.orders import Orders
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from tests.integration.autoscaled import ROOT, autoscaled
from tests.integration.processes import environment_without_ray
from tests.integration.saboteur import Watched

WORKER_NODES: dict[str, Any] = {
    "small": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 3}
}


@pytest.mark.soak
def test_a_run_below_its_target_makes_a_node_come_and_takes_it(tmp_path: Path) -> None:
    spec = RunSpec.parse(
        {
            "name": "grows",
            "task": "tests.integration.tasks:Paced",
            "workers": "1:2",
            "model": {"pause_s": 0.02},
            "train": {"steps": 600, "global_batch": 16, "logical_shards": 8, "evaluate_rows": 64},
            "checkpoint": {"storage": str(tmp_path), "every": 200},
        }
    )
    with autoscaled(WORKER_NODES) as address:
        run = Watched(RunDirectory.begin(tmp_path, spec, 1))
        run.run.write_orders(Orders(attempt=1, workers_min=1, target=1))
        words = ["-m", "trainers.driver", str(run.run.path), "--attempt", "1", "--driver", "1"]
        env = environment_without_ray() | {"RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
        with (run.run.path / "driver.log").open("wb") as log:
            driver = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            run.wait(lambda: len(run.members()) == 1 and run.step() > 5, 120)
            run.run.write_orders(Orders(attempt=1, workers_min=1, target=2))
            run.wait(lambda: len(run.members()) == 2, 90)
            nodes = {e["node_id"] for e in run.events("worker-started")}
            assert len(nodes) == 2, "each node holds one"
            run.wait(lambda: run.run.read_status().status.terminal, 90)
        finally:
            driver.kill()
            driver.wait()
    assert audit(run.run).ok
    assert {e["steps_repeated"] for e in run.events("generation-started")} == {0}
