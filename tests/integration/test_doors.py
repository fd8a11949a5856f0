"""The doors without a service, from outside: a process, a signal, a Ray Job."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.places import place_of
from orchestrator.domain.audit import audit
from orchestrator.domain.run_directory import RunDirectory
from tests.integration.processes import descendants, environment_without_ray, wait_gone
from tests.integration.saboteur import Watched, kill_ranks

ROOT = Path(__file__).parents[2]


def write_spec(folder: Path, **train: object) -> Path:
    spec = {
        "name": "from-outside",
        "task": "tests.integration.tasks:Paced",
        "workers": "1:2",
        "model": {"pause_s": 0.02},
        "train": {"steps": 100, "global_batch": 16, "logical_shards": 8, **train},
        "checkpoint": {"storage": str(folder / "runs"), "every": 20},
    }
    path = folder / "run.json"
    path.write_text(json.dumps(spec))
    return path


def started(folder: Path, step: int) -> Watched:
    """The run, when it has reached `step`."""
    run = RunDirectory(folder / "runs" / "from-outside")
    deadline = time.monotonic() + 60
    while not run.status_path.exists():
        assert time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.05)
    watched = Watched(run)
    watched.wait(lambda: watched.step() >= step)
    return watched


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.long
def test_a_stopped_run_commits_a_last_checkpoint_and_leaves_no_process(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [
        sys.executable,
        "-m",
        "trainers.main",
        str(write_spec(tmp_path, steps=5000)),
        "--num-cpus",
        "2",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment_without_ray(), stderr=subprocess.PIPE, text=True
    )
    watched = started(tmp_path, step=10)
    family = descendants(process.pid)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)

    assert process.returncode == 103, stderr
    assert f"stopped by {number.name}" in stderr
    assert "Traceback" not in stderr
    state = watched.run.read_status()
    assert state.status == "CANCELLED"
    assert Catalog(place_of(watched.run.checkpoints)).committed()[0].step == state.step
    assert audit(watched.run).ok
    assert len(family) >= 4  # Ray's own, the controller, two workers
    assert wait_gone(family, within_s=10) == set()


@pytest.mark.long
def test_a_stopped_run_resumes_where_it_was_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainers.main", "--num-cpus", "2", str(write_spec(tmp_path))]
    process = subprocess.Popen(command, cwd=ROOT, env=environment_without_ray(), stderr=subprocess.DEVNULL)
    watched = started(tmp_path, step=30)
    process.terminate()
    process.wait(timeout=20)
    stopped_at = watched.step()
    again = subprocess.run(
        [*command, "--resume"], cwd=ROOT, env=environment_without_ray(), timeout=90, check=True
    )
    assert again.returncode == 0
    formed = [e for e in watched.events("generation-started") if e["attempt"] == 2]
    assert formed[0]["step"] == stopped_at
    assert formed[0]["steps_repeated"] == 0

    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    subprocess.run(
        [*command[:-1], str(write_spec(undisturbed))],
        cwd=ROOT,
        env=environment_without_ray(),
        timeout=90,
        check=True,
    )
    reports = [audit(watched.run), audit(RunDirectory(undisturbed / "runs" / "from-outside"))]
    assert all(report.ok for report in reports), reports
    assert reports[0].chain == reports[1].chain
    assert reports[0].optimizer_sha256 == reports[1].optimizer_sha256


@dataclass
class Head:
    """A Ray head of the test's own, on free ports, as Ray Jobs need one."""

    address: str
    dashboard: str


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    ports = dict(zip(("port", "dashboard-port", "dashboard-agent-listen-port"), _free_ports(3), strict=True))
    temp = Path("/tmp", f"tumbler-head-{os.getpid()}")  # a socket's path must be short
    environment = environment_without_ray() | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--block",
        "--node-ip-address=127.0.0.1",
        "--num-cpus=3",
        f"--temp-dir={temp}",
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    log = (tmp_path_factory.mktemp("head") / "head.log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        dashboard = f"http://127.0.0.1:{ports['dashboard-port']}"
        _wait_for(ports["dashboard-port"])
        yield Head(f"127.0.0.1:{ports['port']}", dashboard)
    finally:
        family = descendants(process.pid)
        process.terminate()
        process.wait(timeout=60)  # Ray waits 30 s for actors that stay, such as its own of the Train tab
        for pid in wait_gone(family, within_s=10):
            os.kill(pid, signal.SIGKILL)
        log.close()
        shutil.rmtree(temp, ignore_errors=True)


def submit(head: Head, spec: Path) -> tuple[JobSubmissionClient, str]:
    client = JobSubmissionClient(head.dashboard)
    deadline = time.monotonic() + 60
    while True:
        try:
            entrypoint = f"{sys.executable} -m trainers.main {spec}"
            return client, client.submit_job(entrypoint=entrypoint)
        except RuntimeError:  # the agent of a new head takes a moment
            assert time.monotonic() < deadline
            time.sleep(0.5)


def wait_for_job(client: JobSubmissionClient, job: str, timeout_s: float) -> JobStatus:
    deadline = time.monotonic() + timeout_s
    while not (status := client.get_job_status(job)).is_terminal() and time.monotonic() < deadline:
        time.sleep(0.2)
    return status


@pytest.mark.long
def test_a_ray_job_survives_a_kill(tmp_path: Path, head: Head) -> None:
    client, job = submit(head, write_spec(tmp_path))
    watched = started(tmp_path, step=20)
    watched.wait(lambda: len(watched.members()) == 2)
    kill_ranks(watched, 0)
    assert wait_for_job(client, job, 60) == JobStatus.SUCCEEDED, client.get_job_logs(job)
    assert len(watched.events("worker-lost")) == 1
    assert audit(watched.run).ok


def test_a_stopped_ray_job_leaves_nothing_of_the_run(tmp_path: Path, head: Head) -> None:
    """Nothing but what Ray's Train tab tells of it, in an actor of the cluster."""
    client, job = submit(head, write_spec(tmp_path, steps=5000))
    watched = started(tmp_path, step=10)
    workers = set(watched.members().values())
    client.stop_job(job)
    begun = time.monotonic()
    assert wait_gone(workers, within_s=10) == set()
    assert wait_for_job(client, job, 10) == JobStatus.STOPPED
    script = (
        "import ray, json; ray.init(log_to_driver=False, logging_level='ERROR')\n"
        "from ray.util import list_named_actors; from ray.util.placement_group import placement_group_table\n"
        "left = [t['name'] for t in placement_group_table().values() if t['state'] != 'REMOVED']\n"
        "cpus = ray.available_resources().get('CPU')\n"
        "named = list_named_actors(all_namespaces=True)\n"
        "actors = [actor for actor in named if actor['name'] != 'train_v2_state_actor']\n"
        "print(json.dumps([actors, left, cpus]))"
    )
    environment = environment_without_ray() | {"RAY_ADDRESS": head.address}
    left = [["?"], ["?"], 0]
    while left != [[], [], 3.0] and time.monotonic() - begun < 10:
        shown = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        left = json.loads(shown.stdout.splitlines()[-1])
    assert left == [[], [], 3.0]


def _free_ports(count: int) -> list[int]:
    """Free, and outside the range from which Ray takes its workers' ports."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        ports = []
        for offset, probe in enumerate(sockets):
            port = 20100 + (os.getpid() * 7 + offset * 131) % 9000
            while probe.connect_ex(("127.0.0.1", port)) == 0:
                port += 1
            ports.append(port)
        return ports
    finally:
        for probe in sockets:
            probe.close()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, "the head did not come up"
        time.sleep(0.2)


def test_a_gang_that_can_never_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    path = write_spec(tmp_path)
    command = [sys.executable, "-m", "trainers.main", "--num-cpus", "2", str(path), "--set", "workers=3:4"]
    shown = subprocess.run(
        command,
        cwd=ROOT,
        env=environment_without_ray(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 3
    assert "workers.min: 3 workers of 1 CPU can never fit: this Ray has 2 CPU" in shown.stderr
    assert not (tmp_path / "runs" / "from-outside").exists()
