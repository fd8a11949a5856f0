"""A driver of the service may die, be replaced or vanish for good: what becomes of the attempt."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util.placement_group import placement_group_table

from orchestrator.domain.audit import audit
from orchestrator.domain.journal import read_journal
from orchestrator.domain.orders import Orders
from orchestrator.domain.ray_names import NAMESPACE, controller_name, slot_prefix
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason
from tests.integration.processes import environment_without_ray
from tests.integration.saboteur import Watched
from trainers.main import train

ROOT = Path(__file__).parents[2]
PACE = {"pause_s": 0.005}


@dataclass
class Service:
    """Stands in for the service: begins attempts, gives orders and starts drivers in the session's Ray."""

    drivers: list[subprocess.Popen[str]] = field(default_factory=list)

    def begin(self, spec: RunSpec, attempt: int = 1) -> Watched:
        run = RunDirectory.begin(Path(spec.checkpoint.storage), spec, attempt)
        self.order(run, target=spec.workers.max)
        return Watched(run)

    def order(self, run: RunDirectory, *, target: int, stop: EndReason | None = None) -> None:
        attempt = run.record().attempt
        run.write_orders(Orders(attempt=attempt, workers_min=1, target=target, stop=stop))

    def drive(self, run: RunDirectory, *, driver: int = 1, grace_s: float = 30.0) -> subprocess.Popen[str]:
        attempt = str(run.record().attempt)
        command = [sys.executable, "-m", "trainers.driver", str(run.path), "--attempt", attempt]
        environment = environment_without_ray() | {
            "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
            "PYTHONPATH": str(ROOT),
        }
        process = subprocess.Popen(
            [*command, "--driver", str(driver), "--orphan-grace", str(grace_s)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.drivers.append(process)
        return process


@pytest.fixture
def service(local_ray: None) -> Iterator[Service]:
    service = Service()
    yield service
    for process in service.drivers:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> str:
    """What every run of the spec below must end with."""
    spec = spec_of(tmp_path_factory.mktemp("undisturbed"), "undisturbed", model={"pause_s": 0.0})
    digest = train(spec).parameters_sha256
    assert digest
    return digest


def spec_of(folder: Path, name: str, **content: Any) -> RunSpec:
    return RunSpec.parse(
        {
            "name": name,
            "task": "tests.integration.tasks:Paced",
            "workers": "1:2",
            "model": PACE,
            "train": {"steps": 300, "global_batch": 16, "logical_shards": 8, "evaluate_rows": 64},
            "checkpoint": {"storage": str(folder), "every": 20},
            **content,
        }
    )


def ended(process: subprocess.Popen[str], code: int) -> None:
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said


def wait_for(condition: Callable[[], bool], timeout_s: float) -> float:
    """Seconds that it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < timeout_s, "it did not come to that in time"
        time.sleep(0.1)
    return time.monotonic() - begun


def controller_lives(name: str) -> bool:
    try:
        ray.get_actor(controller_name(name), namespace=NAMESPACE)
    except ValueError:
        return False
    return True


def holds_nothing(name: str) -> bool:
    groups = placement_group_table().values()
    held = [g for g in groups if g["name"].startswith(slot_prefix(name)) and g["state"] != "REMOVED"]
    return not held and not controller_lives(name)


def controller_pid(name: str) -> int:
    controller = ray.get_actor(controller_name(name), namespace=NAMESPACE)
    return int(ray.get(controller.__ray_call__.remote(lambda self: os.getpid())))


def longest_pause_s(run: RunDirectory) -> float:
    times = [r["time"] for r in read_journal(run.outbox, "metrics") if "step_s" in r]
    return max(later - earlier for earlier, later in itertools.pairwise(times))


@pytest.mark.long
def test_training_does_not_notice_that_its_driver_died_and_another_adopts_it(
    service: Service, tmp_path: Path, undisturbed: str
) -> None:
    watched = service.begin(spec_of(tmp_path, "adopted"))
    first = service.drive(watched.run)
    watched.wait(lambda: watched.step() >= 20 and len(watched.members()) == 2)
    workers = watched.members()
    first.kill()
    step = watched.step()
    watched.wait(lambda: watched.step() > step + 20)
    # Without a driver, too, a lost worker is replaced.
    os.kill(workers["w1"], signal.SIGKILL)
    watched.wait(lambda: "w3" in watched.members())
    second = service.drive(watched.run, driver=2)
    ended(second, 0)

    state = watched.run.read_status()
    assert (state.status, state.attempt) == ("SUCCEEDED", 1)
    assert [e["worker"] for e in watched.events("worker-lost")] == ["w1"]
    assert longest_pause_s(watched.run) < 3, "workers that start anew take longer"
    assert state.parameters_sha256 == undisturbed
    assert audit(watched.run).ok
    wait_for(lambda: holds_nothing("adopted"), 10)


def test_a_controller_that_nobody_wants_commits_a_checkpoint_and_frees_all(
    service: Service, tmp_path: Path
) -> None:
    watched = service.begin(spec_of(tmp_path, "orphan", train={"steps": 100_000, "global_batch": 16}))
    first = service.drive(watched.run, grace_s=1.5)
    watched.wait(lambda: watched.step() >= 20)
    first.kill()
    until = time.monotonic() + 3
    while time.monotonic() < until:  # the service's beat alone keeps it
        watched.run.beat()
        time.sleep(0.5)
    assert watched.run.read_status().reason is None
    took_s = wait_for(lambda: watched.run.read_status().reason is not None, 10)
    assert took_s > 0.5
    state = watched.run.read_status()
    assert (state.reason, state.status) == ("Orphaned", "QUEUED")
    assert state.checkpoint is not None
    assert state.checkpoint.endswith(f"{state.step:08d}")
    wait_for(lambda: holds_nothing("orphan"), 15)


@pytest.mark.long
def test_a_run_is_scaled_paused_resumed_and_loses_its_controller_and_ends_with_the_same_bits(
    service: Service, tmp_path: Path, undisturbed: str
) -> None:
    spec = spec_of(tmp_path, "steered", workers="1:1")
    watched = service.begin(spec)
    first = service.drive(watched.run)
    watched.wait(lambda: len(watched.members()) == 1)
    for target in (3, 2):
        service.order(watched.run, target=target)
        watched.wait(lambda target=target: len(watched.members()) == target)
    assert not watched.events("worker-lost")
    service.order(watched.run, target=2, stop=EndReason.USER_PAUSED)
    ended(first, 0)
    paused = watched.run.read_status()
    assert (paused.status, paused.reason) == ("PAUSED", "UserPaused")
    assert holds_nothing("steered")

    service.begin(spec, attempt=2)
    second = service.drive(watched.run)
    watched.wait(lambda: watched.step() >= paused.step + 30)
    os.kill(controller_pid("steered"), signal.SIGKILL)
    ended(second, 101)
    lost = watched.run.read_status()
    assert (lost.status, lost.reason) == ("QUEUED", "ControllerLost")
    assert holds_nothing("steered")

    service.begin(spec, attempt=3)
    ended(service.drive(watched.run), 0)
    formed = {e["attempt"]: e for e in reversed(watched.events("generation-started"))}
    assert (formed[2]["step"], formed[2]["steps_repeated"]) == (paused.step, 0)
    assert str(formed[3]["step"]) in formed[3]["source"], "a checkpoint, or a snapshot that is newer"
    assert formed[3]["step"] >= paused.step
    assert watched.run.read_status().parameters_sha256 == undisturbed
    report = audit(watched.run)
    assert report.ok, report.problems


def test_a_driver_that_was_superseded_or_that_finds_no_controller_starts_nothing(
    service: Service, tmp_path: Path
) -> None:
    watched = service.begin(spec_of(tmp_path, "late"))
    old = service.drive(watched.run)
    service.begin(spec_of(tmp_path, "late"), attempt=2)
    ended(old, 6)
    assert watched.run.read_status().status == "QUEUED"
    service.order(watched.run, target=1, stop=EndReason.USER_CANCELLED)
    ended(service.drive(watched.run), 103)
    assert watched.run.read_status().reason == "UserCancelled"
    assert watched.events() == []
