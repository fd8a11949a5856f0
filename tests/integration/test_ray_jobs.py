"""Drivers as Ray Jobs on a head of our own, with a GCS that dies under them."""

import itertools
import json
import os
import shutil
import signal
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cluster import ray_jobs
from cluster.errors import DriverRefused
from cluster.head import Head, start_head
from cluster.keeper import HeadKeeper
from cluster.ray_jobs import RayCluster
from orchestrator.domain.errors import ClusterUnavailable, StorageError
from orchestrator.ports.cluster import DriverOrder, DriverState, DriverStatus

PROBE = """
import json, os, sys
import ray
import orchestrator, trainers, theirs

def where():
    import orchestrator, theirs, trainers
    return [orchestrator.__file__, trainers.__file__, theirs.__file__, os.environ["COLOUR"]]

ray.init(log_to_driver=False)
there = ray.get(ray.remote(num_cpus=1)(where).remote())
json.dump({"driver": where(), "worker": there}, open(sys.argv[1], "w"))
"""
COUNTER = """
import sys, time
import ray

@ray.remote(num_cpus=1)
class Counter:
    def count(self, path):
        with open(path, "a", buffering=1) as file:
            while True:
                print(time.time(), file=file)
                time.sleep(0.05)

ray.init(namespace="tumbler", log_to_driver=False)
ray.get(Counter.options(name="counter", lifetime="detached").remote().count.remote(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tumbler-home-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def head(folder: Path) -> Iterator[Head]:
    head = start_head(folder, num_cpus=3, num_gpus=0, auth="token")
    yield head
    begun = time.monotonic()
    head.stop()
    assert not head.household().look()
    assert time.monotonic() - begun < 20


@pytest.fixture(scope="module")
def cluster(head: Head, folder: Path) -> RayCluster:
    return RayCluster(head.dashboard_url, home=folder, env=head.env)


def order(name: str, folder: Path, **changes: Any) -> DriverOrder:
    facts: dict[str, Any] = {
        "submission_id": f"tumbler-{name}-1",
        "run_folder": folder / "runs" / name,
        "run_name": name,
        "attempt": 1,
        "driver": 1,
        "package": None,
        "env": {"COLOUR": "green"},
        "pip": (),
    }
    return DriverOrder(**{**facts, **changes})


def wait_until(condition: Callable[[], bool], timeout_s: float = 40.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.1)


def ended(cluster: RayCluster, submission: str) -> DriverStatus:
    found: list[DriverStatus] = []

    def over() -> bool:
        with suppress(ClusterUnavailable):  # a head on a busy machine may not answer in time
            found[:] = [cluster.drivers()[submission]]
        return bool(found) and found[0].state.over

    wait_until(over)
    return found[0]


def test_the_nodes_are_told_with_what_they_have(cluster: RayCluster) -> None:
    view = cluster.view()
    [node] = view.nodes
    assert node.alive
    assert node.head
    assert node.resources["CPU"] == 3.0
    assert node.resources["memory"] > 1 << 20
    assert not [name for name in node.resources if name.startswith("node:")]
    assert not view.autoscaled
    assert cluster.view() is view, "it is kept for a second"


def test_a_driver_runs_our_module_and_says_why_it_failed(cluster: RayCluster, folder: Path) -> None:
    wanted = order("lost", folder)
    cluster.launch(wanted)
    cluster.launch(wanted)
    status = ended(cluster, wanted.submission_id)
    assert status.state is DriverState.FAILED
    assert status.message.startswith("the driver ended with exit code 4: ")
    cluster.launch(wanted)
    cluster.stop(wanted.submission_id)
    assert cluster.drivers()[wanted.submission_id] == status, "a second launch and a late stop do nothing"


def test_our_modules_come_before_what_the_user_ships(
    cluster: RayCluster, head: Head, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In driver and workers, from what was shipped and not from what is installed."""
    package = folder / "code.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for name in ("trainers/__init__.py", "orchestrator.py"):
            archive.writestr(name, "raise RuntimeError('theirs')")
        archive.writestr("theirs.py", "")
        archive.writestr("probe.py", PROBE)
    monkeypatch.setattr(ray_jobs, "entrypoint", lambda order: f"python -P -m probe {folder / 'where'}")
    wanted = order("probe", folder, package=package)
    cluster.launch(wanted)
    assert ended(cluster, wanted.submission_id) == DriverStatus(
        DriverState.SUCCEEDED, "Job finished successfully."
    )
    found = json.loads((folder / "where").read_text())
    assert found["driver"] == found["worker"]
    ours, also_ours, theirs, colour = found["driver"]
    for path in (ours, also_ours):
        assert path.startswith(head.temp_dir)
        assert "py_modules_files" in path
    assert "working_dir_files" in theirs
    assert colour == "green"


def test_an_order_that_cannot_be_met_is_refused(cluster: RayCluster, folder: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*gone\.zip"):
        cluster.launch(order("gone", folder, package=folder / "gone.zip"))
    with pytest.raises(DriverRefused, match="Ray refused to start a driver"):
        cluster.launch(order("odd", folder, env={"NUMBER": 1}))
    cluster.stop("tumbler-unknown-1")
    assert "tumbler-odd-1" not in cluster.drivers()


def test_a_gcs_that_dies_stops_nobody(
    cluster: RayCluster, head: Head, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, counts = folder / "counter.py", folder / "counts"
    script.write_text(COUNTER)
    monkeypatch.setattr(ray_jobs, "entrypoint", lambda order: f"python -P {script} {counts}")
    wanted = order("counting", folder)
    cluster.launch(wanted)
    wait_until(counts.exists)
    keeper = HeadKeeper(head)

    os.kill(head.pids["gcs_server"], signal.SIGKILL)
    begun = time.monotonic()
    with pytest.raises(ClusterUnavailable, match=r"Ray does not answer at .*: no answer in time"):
        cluster.drivers()
    assert time.monotonic() - begun < 8, "and it says so soon"
    assert keeper.look() == ["gcs_server"]

    wait_until(lambda: answers(cluster))
    assert cluster.drivers()[wanted.submission_id].state is DriverState.RUNNING
    after = order("after", folder)
    monkeypatch.setattr(ray_jobs, "entrypoint", lambda order: "true")
    cluster.launch(after)
    assert ended(cluster, after.submission_id).state is DriverState.SUCCEEDED
    assert cluster.drivers()[wanted.submission_id].state is DriverState.RUNNING
    times = [float(line) for line in counts.read_text().split()]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 3
    assert time.time() - times[-1] < 3
    cluster.stop(wanted.submission_id)
    assert ended(cluster, wanted.submission_id).state is DriverState.STOPPED


def answers(cluster: RayCluster) -> bool:
    try:
        cluster.drivers()
    except ClusterUnavailable:
        return False
    return True


def test_where_nobody_listens_the_cluster_is_unavailable(folder: Path) -> None:
    nowhere = RayCluster("http://127.0.0.1:9", home=folder)
    for ask in (nowhere.view, nowhere.drivers, lambda: nowhere.stop("x")):
        with pytest.raises(
            ClusterUnavailable, match=r"Ray does not answer at http://127\.0\.0\.1:9: "
        ) as away:
            ask()
        assert "\n" not in str(away.value)


def test_with_another_token_nobody_gets_in(head: Head, folder: Path) -> None:
    token = folder / "other_token"
    token.write_text("0" * 64)
    stranger = RayCluster(
        head.dashboard_url, home=folder, env={**head.env, "RAY_AUTH_TOKEN_PATH": str(token)}
    )
    with pytest.raises(ClusterUnavailable):
        stranger.drivers()
