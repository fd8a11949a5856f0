"""Runs that share one cluster: shrunk and grown live, and the bits of each are those it has alone."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.deployment import Deployment, deployment
from orchestrator.domain.audit import audit
from tests.integration.saboteur import Watched
from tests.integration.shipped import paced_code

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Four places; the machine may have fewer cores."""
    with deployment(tmp_path_factory.mktemp("sharing"), num_cpus=4) as deployed:
        yield deployed


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paced_code(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="module")
def alone(service: Deployment, code: Path) -> str:
    """The SHA-256 of the parameters of the run that has the cluster to itself."""
    submit(service, code, "alone")
    service.tumbler("wait", "alone", timeout_s=120)
    return str(service.run("alone")["parameters_sha256"])


def submit(service: Deployment, code: Path, name: str, **changes: Any) -> float:
    """When it was sent, in seconds since 1970."""
    spec = {
        "name": name,
        "task": "paced:Paced",
        "workers": "1:4",
        "model": {"pause_s": 0.02},
        "code": {"working_dir": str(code)},
        "train": {"steps": 400, "global_batch": 16, "logical_shards": 8},
        "checkpoint": {"every": 100},
        **changes,
    }
    request = urllib.request.Request(
        f"{service.url}/api/v1/runs",
        data=json.dumps(spec).encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": name},
    )
    sent = time.time()
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 201
    return sent


def watched_at(service: Deployment, name: str, step: int, workers: int | None = None) -> Watched:
    watched = Watched(service.run_directory(name))
    watched.wait(watched.run.status_path.exists, timeout_s=60)
    watched.wait(lambda: watched.step() >= step and workers in (None, len(watched.members())), timeout_s=90)
    return watched


def first_after(watched: Watched, kind: str, since_s: float) -> float:
    """Seconds from a moment to the first such event after it."""
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in watched.events(kind)]
    return min(at for at in times if at >= since_s) - since_s


@pytest.mark.long
def test_the_second_run_trains_within_its_start_up_time_and_the_first_never_restarts(
    service: Deployment, code: Path, alone: str, record_property: Record
) -> None:
    began = submit(service, code, "first")
    first = watched_at(service, "first", step=20, workers=4)
    record_property("first_to_first_step_s", first_after(first, "generation-started", began))
    sent = submit(service, code, "second")
    second = watched_at(service, "second", step=1)
    shrunk_s = first_after(first, "worker-retired", sent)
    trains_s = first_after(second, "generation-started", sent)
    record_property("submit_to_worker_released_s", shrunk_s)
    record_property("submit_to_second_trains_s", trains_s)
    print(f"shrunk after {shrunk_s:.2f} s, the second trains after {trains_s:.2f} s")
    assert service.run("first")["status"] == "RUNNING"
    for name, watched in (("first", first), ("second", second)):
        service.tumbler("wait", name, timeout_s=180)
        run = service.run(name)
        assert (run["status"], run["attempt"]) == ("SUCCEEDED", 1)
        formed = watched.events("generation-started")
        assert [event["steps_repeated"] for event in formed] == [0] * len(formed)
        assert run["parameters_sha256"] == alone
        report = audit(watched.run)
        assert report.ok, report.problems
    assert len(first.events("worker-lost")) == 0


@pytest.mark.soak
def test_a_run_of_higher_priority_takes_the_places_and_the_other_goes_on_where_it_was(
    service: Deployment, code: Path, alone: str, record_property: Record
) -> None:
    submit(service, code, "low", workers=4, priority=10)
    low = watched_at(service, "low", step=40, workers=4)
    sent = submit(
        service,
        code,
        "high",
        workers=2,
        priority=90,
        train={"steps": 40, "global_batch": 16, "logical_shards": 8},
    )
    service.wait_until(lambda: service.run("low")["status"] == "QUEUED")
    assert service.run("low")["reason"] == "Preempted"
    freed_s = first_after(low, "run-ended", sent)
    record_property("submit_to_preempted_s", freed_s)
    print(f"all places were left after {freed_s:.2f} s")
    left_at = low.step()
    service.wait_until(lambda: service.run("high")["status"] == "RUNNING")
    shown = service.tumbler("describe", "low").stdout
    assert "high" in shown
    for name in ("high", "low"):
        service.tumbler("wait", name, timeout_s=180)
        report = audit(service.run_directory(name))
        assert report.ok, report.problems
    run = service.run("low")
    assert (run["attempt"], run["parameters_sha256"]) == (2, alone)
    again = next(event for event in low.events("generation-started") if event["attempt"] == 2)
    assert (again["step"], again["steps_repeated"]) == (left_at, 0)
