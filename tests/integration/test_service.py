"""The service as its users meet it: `tumbler up`, four doors to one result, faults on every level, `tumbler
down`."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.deployment import Deployment, deployment
from orchestrator.domain.audit import audit
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory
from tests.integration.processes import environment_without_ray
from tests.integration.saboteur import Watched, kill_ranks
from tests.integration.shipped import paced_code

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("service"), num_cpus=5) as deployed:
        yield deployed


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with a task of theirs."""
    return paced_code(tmp_path_factory.mktemp("code"))


def spec_of(name: str, code: Path, **train: object) -> dict[str, Any]:
    return {
        "name": name,
        "task": "paced:Paced",
        "workers": "1:2",
        "model": {"pause_s": 0.02},
        "code": {"working_dir": str(code)},
        "train": {"steps": 100, "global_batch": 16, "logical_shards": 8, **train},
        "checkpoint": {"every": 20},
    }


def written(folder: Path, spec: dict[str, Any]) -> Path:
    path = folder / f"{spec['name']}.json"
    path.write_text(json.dumps(spec))
    return path


def submit_over_rest(service: Deployment, spec: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{service.url}/api/v1/runs",
        data=json.dumps(spec).encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": str(spec["name"])},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201
        return dict(json.load(answer))


def watched_at(run: RunDirectory, step: int, workers: int = 2) -> Watched:
    """The run, when it has reached `step` with so many workers."""
    watched = Watched(run)
    watched.wait(run.status_path.exists, timeout_s=60)
    watched.wait(lambda: watched.step() >= step and len(watched.members()) == workers, timeout_s=90)
    return watched


def longest_pause_s(run: RunDirectory, since_s: float) -> float:
    """The longest time between two steps after a moment (seconds since 1970)."""
    times = [r["time"] for r in read_journal(run.outbox, "metrics") if "step_s" in r]
    after = [t for t in times if t > since_s - 1]
    return max(later - earlier for earlier, later in itertools.pairwise(after))


@pytest.mark.soak
def test_one_spec_through_four_doors_with_a_kill_in_each_ends_with_the_same_bits(
    service: Deployment, code: Path, tmp_path: Path
) -> None:
    killed: dict[str, Watched] = {}

    submit_over_rest(service, spec_of("by-rest", code))
    killed["rest"] = watched_at(service.run_directory("by-rest"), step=20)
    kill_ranks(killed["rest"], 0)
    service.tumbler("wait", "by-rest")

    service.tumbler("submit", "-f", str(written(tmp_path, spec_of("by-cli", code))), "--detach")
    killed["cli"] = watched_at(service.run_directory("by-cli"), step=20)
    kill_ranks(killed["cli"], 1)
    service.tumbler("wait", "by-cli")

    elsewhere = {"checkpoint": {"storage": str(tmp_path / "runs"), "every": 20}}
    by_job = written(tmp_path, {**spec_of("by-ray-job", Path()), **elsewhere})
    job = subprocess.Popen(
        [
            *(service.ray, "job", "submit", "--working-dir", str(code), "--"),
            *(sys.executable, "-m", "trainers.main", str(by_job)),
        ],
        env=service.ray_environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killed["ray job"] = watched_at(RunDirectory(tmp_path / "runs" / "by-ray-job"), step=20)
    kill_ranks(killed["ray job"], 0)
    said, _ = job.communicate(timeout=90)
    assert job.returncode == 0, said

    by_library = {**spec_of("by-library", code), **elsewhere}
    script = (
        "import json, sys; from orchestrator.domain.spec import RunSpec; from trainers.main import train\n"
        "train(RunSpec.parse(json.loads(sys.argv[1])), num_cpus=2)"
    )
    library = subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(by_library)], cwd=ROOT, env=environment_without_ray()
    )
    killed["library"] = watched_at(RunDirectory(tmp_path / "runs" / "by-library"), step=20)
    kill_ranks(killed["library"], 1)
    assert library.wait(timeout=90) == 0

    for door, watched in killed.items():
        assert watched.events("worker-lost"), door
        assert audit(watched.run).ok, door
    ends = {door: watched.run.read_status().parameters_sha256 for door, watched in killed.items()}
    assert len(set(ends.values())) == 1, ends
    assert None not in ends.values()


@pytest.mark.long
def test_service_driver_and_gcs_die_while_a_run_trains_on(service: Deployment, code: Path) -> None:
    submit_over_rest(service, spec_of("survivor", code, steps=600))
    watched = watched_at(service.run_directory("survivor"), step=20)
    workers, began = watched.members(), time.time()

    service.kill_service()
    os.kill(service.driver_pid("survivor"), signal.SIGKILL)
    step = watched.step()
    watched.wait(lambda: watched.step() > step + 40)
    service.tumbler("up")
    service.wait_until(lambda: service.run("survivor")["driver"] == 2)

    os.kill(service.gcs_pid(), signal.SIGKILL)
    step = watched.step()
    watched.wait(lambda: watched.step() > step + 40)
    service.tumbler("wait", "survivor", timeout_s=180)

    assert watched.members() == workers
    assert watched.events("worker-lost") == []
    assert longest_pause_s(watched.run, began) < 3, "workers that start anew take longer"
    run = service.run("survivor")
    assert (run["status"], run["attempt"]) == ("SUCCEEDED", 1)
    report = audit(watched.run)
    assert report.ok, report.problems
    events = service.get("runs/survivor/events?limit=500")["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert sum(event["kind"] == "generation-started" for event in events) == len(
        watched.events("generation-started")
    )


@pytest.mark.long
def test_a_run_is_scaled_paused_resumed_and_cancelled(service: Deployment, code: Path) -> None:
    submit_over_rest(service, spec_of("steered", code, steps=100_000))
    watched = watched_at(service.run_directory("steered"), step=20)
    service.tumbler("scale", "steered", "3")
    watched.wait(lambda: len(watched.members()) == 3)
    service.tumbler("scale", "steered", "1")
    watched.wait(lambda: len(watched.members()) == 1)

    service.tumbler("pause", "steered")
    service.wait_until(lambda: service.run("steered")["status"] == "PAUSED")
    paused_at = watched.step()
    service.tumbler("resume", "steered")
    watched.wait(lambda: watched.step() > paused_at + 5)
    formed = [event for event in watched.events("generation-started") if event["attempt"] == 2]
    assert (formed[0]["step"], formed[0]["steps_repeated"]) == (paused_at, 0)

    service.tumbler("cancel", "steered")
    assert service.tumbler("wait", "steered", check=False).returncode == 103
    assert service.run("steered")["status"] == "CANCELLED"
    assert audit(watched.run).problems == ()


@pytest.mark.long
def test_a_run_that_does_not_fit_waits_and_says_why(service: Deployment, code: Path) -> None:
    submit_over_rest(service, spec_of("holder", code, steps=100_000) | {"workers": 4})
    watched_at(service.run_directory("holder"), step=1, workers=4)
    submit_over_rest(service, spec_of("waiter", code) | {"workers": 2})
    service.wait_until(lambda: bool((service.run("waiter")["wait"] or {}).get("why")))
    shown = service.tumbler("describe", "waiter").stdout
    assert "QUEUED" in shown
    assert "holder" in shown
    service.tumbler("cancel", "holder")
    service.tumbler("wait", "waiter", timeout_s=120)
    assert service.run("waiter")["status"] == "SUCCEEDED"
