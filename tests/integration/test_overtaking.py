"""Calls to the controller that come late and in any order, as on a machine that has too much to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.run_directory import RunDirectory

ROOT = Path(__file__).parents[2]
DELAYED = "CoreWorkerService.grpc_server.PushTask=0:600000"
"""Each call of an actor waits up to 0.6 s by itself (microseconds); a worker reports every 0.25 s."""

RUN = """
import sys
from orchestrator.domain.spec import RunSpec
from tests.local_ray import local_ray
from trainers.main import train

with local_ray():
    train(RunSpec.parse({
        "name": "late",
        "task": "tests.integration.tasks:Paced",
        "model": {"pause_s": 0.01},
        "workers": 2,
        "train": {"steps": 150, "global_batch": 16, "logical_shards": 8, "evaluate_rows": 64},
        "checkpoint": {"storage": sys.argv[1], "every": 50, "link_every": 10},
    }))
"""


@pytest.mark.long
def test_no_step_is_off_the_record_where_reports_overtake_each_other(tmp_path: Path) -> None:
    environment = {**os.environ, "RAY_testing_asio_delay_us": DELAYED, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = audit(RunDirectory(tmp_path / "late"))
    assert report.ok, report.problems
    assert report.steps == 150
