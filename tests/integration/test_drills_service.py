"""`tumbler chaos` against a run of the service, on a head that demands a token."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.deployment import Deployment, deployment
from cluster.invariants import check_invariants
from orchestrator.domain.goodput import goodput
from tests.integration.saboteur import Watched
from tests.integration.shipped import paced_code


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("service"), num_cpus=4) as deployed:
        yield deployed


def chaos(service: Deployment, *words: str) -> dict[str, Any]:
    return dict(json.loads(service.tumbler("chaos", *words, "-o", "json").stdout))


@pytest.mark.soak
def test_workers_the_service_and_the_head_are_killed_and_the_run_keeps_all_its_promises(
    service: Deployment, tmp_path: Path
) -> None:
    paced_code(tmp_path)
    spec = {
        "name": "drilled",
        "task": "paced:Paced",
        "workers": "1:2",
        "model": {"pause_s": 0.03},
        "code": {"working_dir": str(tmp_path)},
        "train": {"steps": 200, "global_batch": 16, "logical_shards": 8},
        "checkpoint": {"every": 20},
    }
    (tmp_path / "run.json").write_text(json.dumps(spec))
    service.tumbler("submit", "-f", str(tmp_path / "run.json"), "--detach")
    run = Watched(service.run_directory("drilled"))
    run.wait(run.run.status_path.is_file, timeout_s=60)
    run.wait(lambda: run.step() >= 5 and len(run.members()) == 2, timeout_s=90)

    killed = chaos(service, "kill-worker", "drilled", "--rank", "0")
    assert killed["next_step_s"] < 5
    run.wait(lambda: len(run.members()) == 2)
    slow = chaos(service, "slow-worker", "drilled", "--rank", "0", "--factor", "1.5")
    assert slow["shard_slower_s"] > 0
    refused = service.tumbler("chaos", "kill-node", "drilled", check=False)
    assert refused.returncode == 4
    assert "has its workers on the head node" in refused.stderr

    step = run.step()
    chaos(service, "kill-service")
    run.wait(lambda: run.step() > step + 5)
    service.tumbler("up", "--num-cpus", "4")
    assert chaos(service, "kill-head")["processes"] > 3
    service.tumbler("up", "--num-cpus", "4")
    service.tumbler("wait", "drilled", timeout_s=180)

    found = check_invariants(run.run)
    assert found.ok, found.problems
    assert (found.status, found.steps, found.rows_repeated, found.rows_missed) == ("SUCCEEDED", 200, 0, 0)
    report = goodput(run.run)
    assert report.attempts == 2
    assert service.get("runs/drilled/goodput") == report.model_dump(mode="json")
    (queue,) = service.get("cluster/goodput")["queues"]
    assert (queue["queue"], queue["runs"]) == ("default", 1)
    assert queue["worker_s"] == pytest.approx(report.worker_s)
