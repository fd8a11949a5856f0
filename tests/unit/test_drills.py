"""What drills strike, and what is told of it, without a Ray: processes that look like its own."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from api.cli.drill_storm import faults
from api.cli.drill_watch import DrillWatch
from api.cli.main import main
from cluster.errors import WorkerNotFound
from cluster.faults import hang_worker
from cluster.invariants import check_invariants
from cluster.raylets import kill_node, raylet_of
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.recorded_run import START_S, RecordedRun, finished_run

PARENT = """
import subprocess, sys, time
child = subprocess.Popen(["ray::ElasticWorker", "60"], executable="sleep")
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUMBLER_HOME", str(tmp_path / "home"))


class Node:
    """A raylet and its worker, by the looks of their command lines."""

    def __init__(self, *flags: str) -> None:
        words = ["raylet", "-c", PARENT, "--gcs-address=10.0.0.5:6379", *flags]
        self.raylet = subprocess.Popen(
            words, executable=sys.executable, stdout=subprocess.PIPE, env={"RAY_AUTH_MODE": "token", "A": "b"}
        )
        assert self.raylet.stdout is not None
        self.worker = int(self.raylet.stdout.readline())

    def end(self) -> None:
        for pid in (self.worker, self.raylet.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.raylet.wait()


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.end()


@pytest.fixture
def head() -> Iterator[Node]:
    node = Node("--head")
    yield node
    node.end()


def test_the_raylet_above_a_worker_says_where_its_ray_is_and_how_to_be_let_in(node: Node, head: Node) -> None:
    found = raylet_of(node.worker)
    assert found is not None
    assert (found.pid, found.address, found.head) == (node.raylet.pid, "10.0.0.5:6379", False)
    assert found.env == {"RAY_AUTH_MODE": "token"}
    of_head = raylet_of(head.worker)
    assert of_head is not None
    assert of_head.head
    assert raylet_of(os.getpid()) is None


def test_a_node_is_killed_by_its_raylet_and_the_head_never_is(tmp_path: Path, node: Node, head: Node) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.started(w1=head.worker, w2=node.worker)
    recorded.formed(1, "w1", "w2")
    killed = kill_node(recorded.run, rng=random.Random(1))
    assert (killed.pid, killed.workers, killed.generation) == (node.raylet.pid, ("w2",), 1)
    assert node.raylet.wait() == -signal.SIGKILL
    with pytest.raises(WorkerNotFound, match="has its workers on the head node"):
        kill_node(recorded.run, "w1")
    assert head.raylet.poll() is None


def test_a_node_of_another_machine_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.started(w1=2**30)
    recorded.formed(1, "w1")
    assert main(["chaos", "kill-node", str(recorded.run.path)]) == 4
    assert "the node of any worker of run 'brave-otter' is not on this machine" in capsys.readouterr().err


def test_a_worker_that_hangs_is_stopped_and_not_ended(tmp_path: Path, node: Node) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.started(w1=node.worker)
    recorded.formed(1, "w1")
    assert hang_worker(recorded.run).worker == "w1"
    deadline = time.monotonic() + 10
    while Path(f"/proc/{node.worker}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline, "it runs on"
        time.sleep(0.01)


@pytest.mark.parametrize("verb", ["kill-worker", "hang-worker", "slow-worker", "nan", "kill-node"])
def test_an_ended_run_is_refused_whatever_the_drill(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(Path("runs"))
    assert main(["chaos", verb, str(run.path)]) == 4
    assert "run 'brave-otter' has ended (SUCCEEDED)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "code", "sentence"), [("kill-service", 7, "no service of"), ("kill-head", 1, "has no Ray head")]
)
def test_what_does_not_run_here_is_not_killed(
    verb: str, code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chaos", verb]) == code
    assert sentence in capsys.readouterr().err


def test_the_next_step_after_a_kill_is_one_of_a_later_generation(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.formed(1, "w1", "w2")
    recorded.steps(1, 2)
    watch = DrillWatch(recorded.run, sleep=lambda s: None)
    recorded.steps(3, 3)
    recorded.formed(2, "w1", step=3)
    recorded.steps(4, 5, generation=2)
    assert watch.next_step(START_S + 2.5, generation=1) == {"step": 4, "next_step_s": 1.5}
    clock = iter(range(1000))
    patient = DrillWatch(recorded.run, sleep=lambda s: None, monotonic=lambda: float(next(clock)))
    assert patient.next_step(START_S, within_s=5) == {"step": None, "next_step_s": None}


def test_the_invariants_of_a_good_run_hold_and_damage_is_told(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    found = check_invariants(run)
    assert (found.rows_repeated, found.processes, found.links) == (0, (), 1)
    segment = run.outbox / "ledger-000001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:-1]))
    damaged = check_invariants(run)
    assert not damaged.ok
    assert any("lost its tail" in problem for problem in damaged.problems)


def test_a_run_that_failed_keeps_no_promise(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.formed(1, "w1")
    recorded.steps(1, 3, workers=1)
    recorded.ended(RunStatus.FAILED, EndReason.NO_PROGRESS)
    assert check_invariants(recorded.run).problems[-1] == "it failed: NoProgress, told so"


def test_a_storm_is_decided_by_its_seed() -> None:
    def storm(seed: int) -> list[object]:
        return list(faults(4, 3, most=4, least=2, rng=random.Random(seed)))

    assert storm(1) == storm(1) != storm(2)
    kinds = [fault.workers for fault in faults(4, 3, most=4, least=2, rng=random.Random(1))]
    assert kinds.count(None) == 4
    assert all(2 <= workers <= 4 for workers in kinds if workers)
