"""A Ray head of our own: it starts, is found again, loses its GCS or dashboard, and leaves nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.daemons import MARK, Daemon, Household
from cluster.errors import HeadFailed
from cluster.head import Head, start_head
from cluster.keeper import HeadKeeper

WRITER = ("-m", "trainers.checkpoints.writer_process")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tumbler-home-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def head(home: Path) -> Iterator[Head]:
    head = start_head(home, num_cpus=2, num_gpus=0, auth="token")
    yield head
    head.stop()
    assert not head.household().look()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.1)


def process(head: Head, program: str) -> Daemon | None:
    return next((one for one in head.household().look() if one.program == program), None)


def kill(head: Head, program: str) -> None:
    victim = process(head, program)
    assert victim is not None
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: not victim.is_alive())


def answers(head: Head) -> bool:
    """Whether it gives the list of jobs to who has the token."""
    token = Path(head.env["RAY_AUTH_TOKEN_PATH"]).read_text()
    request = urllib.request.Request(
        f"{head.dashboard_url}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_it_is_on_record_and_found_again(head: Head, home: Path) -> None:
    assert head.alive()
    assert Head.load(home) == head
    assert set(head.pids) == {"gcs_server", "raylet", "dashboard"}
    assert answers(head)


def test_what_is_on_record_is_for_the_owner_alone(head: Head, home: Path) -> None:
    for name in ("head.json", "ray_token"):
        assert (home / name).stat().st_mode & 0o777 == 0o600
    assert json.loads((home / "head.json").read_text())["dashboard_url"] == head.dashboard_url


def test_nobody_gets_in_without_the_token(head: Head) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{head.dashboard_url}/api/jobs/", timeout=5)
    assert refused.value.code == 401


def test_a_second_head_of_one_home_is_refused(head: Head, home: Path) -> None:
    with pytest.raises(HeadFailed, match=f"running at {head.address}"):
        start_head(home, num_cpus=1)
    assert head.alive()


def test_only_what_is_needed_runs(head: Head) -> None:
    commands = [" ".join(daemon.command) for daemon in head.household().look()]
    for unneeded in ("ray.util.client.server", "log_monitor.py", "monitor.py"):
        assert not [command for command in commands if unneeded in command]


def test_every_process_is_found(head: Head) -> None:
    """Those too that write their titles over their environment."""
    found = {daemon.pid for daemon in head.household().look()}
    family, below = {head.pids["gcs_server"]}, {head.pids["raylet"], head.pids["dashboard"]}
    while below:
        family |= below
        below = {child for pid in below for child in children(pid)}
    assert len(family) > 10
    assert family <= found


def children(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def test_a_keeper_starts_nothing_while_all_is_well(head: Head) -> None:
    assert HeadKeeper(head).look() == []


@pytest.mark.parametrize("program", ["gcs_server", "dashboard"])
def test_a_keeper_brings_back_what_died(head: Head, home: Path, program: str) -> None:
    keeper = HeadKeeper(head)
    kill(head, program)
    assert keeper.look() == [program]
    assert keeper.look() == []
    wait_until(lambda: answers(head))
    assert Head.load(home) == head
    assert HeadKeeper(head).look() == [], "another keeper finds the new process"
    kill(head, program)
    assert keeper.look() == [program], "it dies a second time"
    wait_until(lambda: answers(head))


def test_without_a_raylet_it_is_gone_and_the_next_one_starts_with_an_empty_store(
    head: Head, home: Path
) -> None:
    keeper = HeadKeeper(head)
    with waiting(head.daemons[0].env, *WRITER):
        kill(head, "raylet")
        kill(head, "gcs_server")
        assert keeper.look() == []
        assert Head.load(home) is None
        assert Head.recorded(home) == head
        after = start_head(home, num_cpus=1, num_gpus=0, auth="token")
        try:
            left = head.household().look()
            assert [one.holds_snapshots for one in left] == [True], "all else of the old one is ended"
            assert not Path(head.temp_dir).exists()
            assert after.alive()
            assert answers(after)
        finally:
            after.stop()
    assert not head.household().look()
    assert not after.household().look()
    assert not Path(after.temp_dir).exists()
    assert Head.recorded(home) is None
    after.stop()


def test_a_start_that_fails_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = set(Path("/tmp").glob("tumbler-*"))
    with pytest.raises(HeadFailed, match="Ray did not start"):
        start_head(home, num_cpus=-1)
    assert set(Path("/tmp").glob("tumbler-*")) <= folders
    assert Head.recorded(home) is None


def test_work_is_killed_and_ray_is_asked_first() -> None:
    """A driver that gets SIGTERM cancels its run; a run is to outlive its head."""
    work = Daemon(1, 1, 1, ("python", "-m", "trainers.driver"), {})
    parts = [
        Daemon(1, 1, 1, ("/x/ray/core/src/ray/raylet/raylet", "--x"), {}),
        Daemon(1, 1, 1, ("/x/python", "/x/ray/dashboard/dashboard.py"), {}),
        Daemon(1, 1, 1, ("ray::DashboardAgent",), {}),
    ]
    assert not work.serves
    assert all(part.serves for part in parts)


def test_who_holds_snapshots_is_left_for_the_next_head_and_ended_with_the_last(tmp_path: Path) -> None:
    household = Household(MARK, str(tmp_path))
    environment = {**os.environ, MARK: str(tmp_path)}
    with waiting(environment, *WRITER), waiting(environment, "-c", "input()"):
        wait_until(lambda: sorted(one.holds_snapshots for one in household.look()) == [False, True])
        household.end(patience_s=0, but_snapshots=True)
        assert [one.holds_snapshots for one in household.look()] == [True]
        household.end(patience_s=0)
        assert not household.look()


@contextmanager
def waiting(environment: Mapping[str, str], *words: str) -> Iterator[None]:
    """A process of Python that waits for its input; a writer process leaves its family for that."""
    with subprocess.Popen(
        [sys.executable, *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # the agents of another Ray may be in this one
    ) as process:
        if words == WRITER:
            assert process.wait() == 0
        yield
