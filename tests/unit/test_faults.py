import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import WorkerNotFound
from cluster.faults import kill_worker, read_membership
from cluster.leftovers import Leftovers, find_leftovers
from cluster.processes import WorkerProcess, started_processes
from orchestrator.domain.run_directory import RunDirectory
from tests.unit.recorded_run import RecordedRun

GONE = 2**30
"""No process has this id."""


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that look like workers of Ray, and one that does not."""
    names = ("ray::ElasticWorker", "ray::ElasticWorker.run", "somebody-else")
    started = [subprocess.Popen([name, "60"], executable="sleep") for name in names]
    yield started
    for process in started:
        process.kill()
        process.wait()


def run_of(tmp_path: Path, **pids: int) -> RecordedRun:
    recorded = RecordedRun(tmp_path)
    recorded.started(**pids)
    recorded.formed(1, *pids)
    return recorded


def test_the_worker_that_is_named_is_killed_and_no_other(
    tmp_path: Path, workers: list[subprocess.Popen[bytes]]
) -> None:
    run = run_of(tmp_path, w1=workers[0].pid, w2=workers[1].pid).run
    killed = kill_worker(run, worker="w2")
    assert (killed.worker, killed.pid, killed.rank, killed.generation) == ("w2", workers[1].pid, 1, 1)
    assert workers[1].wait() == -signal.SIGKILL
    assert workers[0].poll() is None


def test_the_worker_of_a_rank_is_killed(tmp_path: Path, workers: list[subprocess.Popen[bytes]]) -> None:
    run = run_of(tmp_path, w1=workers[0].pid, w2=workers[1].pid).run
    assert kill_worker(run, rank=0).worker == "w1"
    assert workers[0].wait() == -signal.SIGKILL


def test_any_worker_may_be_the_one(tmp_path: Path) -> None:
    run = run_of(tmp_path, w1=GONE, w2=GONE + 1).run
    tried = set()
    for seed in range(10):
        with pytest.raises(WorkerNotFound) as caught:
            kill_worker(run, rng=random.Random(seed))
        tried.add(str(caught.value).split()[1])
    assert tried == {"w1", "w2"}


def test_a_process_that_is_no_ray_worker_is_never_killed(
    tmp_path: Path, workers: list[subprocess.Popen[bytes]]
) -> None:
    run = run_of(tmp_path, w1=workers[2].pid).run
    with pytest.raises(WorkerNotFound, match="which is no Ray worker of this machine"):
        kill_worker(run)
    assert workers[2].poll() is None


def test_members_are_those_of_the_newest_generation_that_have_not_left(tmp_path: Path) -> None:
    recorded = run_of(tmp_path, w1=11, w2=12)
    recorded.lost("w1")
    assert [member.worker for member in read_membership(recorded.run).members] == ["w2"]
    recorded.started(w3=13)
    assert [member.worker for member in read_membership(recorded.run).members] == ["w2"]
    recorded.formed(2, "w2", "w3", step=0)
    membership = read_membership(recorded.run)
    assert [(member.worker, member.pid, member.rank) for member in membership.members] == [
        ("w2", 12, 0),
        ("w3", 13, 1),
    ]
    assert membership.generation == 2


@pytest.mark.parametrize(
    ("worker", "rank", "sentence"),
    [
        ("w9", None, r"no worker of id w9, it has w1 \(rank 0\), w2 \(rank 1\)"),
        (None, 2, "no worker of rank 2"),
        ("w1", 1, "no worker of id w1 and rank 1"),
    ],
)
def test_a_worker_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, worker: str | None, rank: int | None, sentence: str
) -> None:
    run = run_of(tmp_path, w1=GONE, w2=GONE).run
    with pytest.raises(WorkerNotFound, match=sentence) as caught:
        kill_worker(run, worker, rank)
    assert caught.value.exit_code == 4


def test_before_the_first_generation_there_is_nobody_to_kill(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.started(w1=GONE)
    with pytest.raises(WorkerNotFound, match="no worker that trains right now"):
        kill_worker(recorded.run)


def test_a_run_that_has_ended_is_left_alone(tmp_path: Path, workers: list[subprocess.Popen[bytes]]) -> None:
    recorded = run_of(tmp_path, w1=workers[0].pid)
    recorded.steps(1, 8)
    recorded.ended()
    with pytest.raises(WorkerNotFound, match=r"has ended \(SUCCEEDED\)"):
        kill_worker(recorded.run)
    assert workers[0].poll() is None


def test_what_is_left_of_a_run_are_its_living_ray_workers(
    tmp_path: Path, workers: list[subprocess.Popen[bytes]]
) -> None:
    run: RunDirectory = run_of(tmp_path, w1=workers[0].pid, w2=GONE, w3=workers[2].pid).run
    assert [process.pid for process in started_processes(run)] == [workers[0].pid, GONE, workers[2].pid]
    assert find_leftovers(run) == Leftovers(processes=(workers[0].pid,))
    workers[0].kill()
    workers[0].wait()
    assert not find_leftovers(run)


def test_a_process_that_was_born_after_the_worker_is_another_with_its_id(
    workers: list[subprocess.Popen[bytes]],
) -> None:
    an_hour_ago = time.time() - 3600
    assert not WorkerProcess("w1", workers[0].pid, attempt=1, seen_s=an_hour_ago).is_here()
    assert WorkerProcess("w1", workers[0].pid, attempt=1, seen_s=time.time()).is_here()


def test_the_members_of_an_older_attempt_are_none(tmp_path: Path) -> None:
    run = run_of(tmp_path, w1=11, w2=12).run
    RunDirectory.create(tmp_path, run.spec(), resume=True)
    assert read_membership(run).members == ()
