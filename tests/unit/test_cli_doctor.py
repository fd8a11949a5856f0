import json
import socket
from pathlib import Path

import pytest

from api.cli import checkup
from api.cli.checkup import (
    cpus,
    free_disk,
    home,
    imported_from,
    installed,
    leftovers,
    memory,
    python_version,
    ray_address,
    shared_memory,
)
from api.cli.doctor import Finding, Verdict
from api.cli.main import main
from api.webhooks.standing import Failing, Standing, standing_path, write_standing
from cluster.processes import WorkerProcess
from tests.unit.recorded_run import finished_run


def test_findings_are_listed_and_a_problem_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [Finding("a", Verdict.OK, "fine"), Finding("b", Verdict.WARNING, "so so", "do this")]
    monkeypatch.setattr(checkup, "examine_machine", lambda storage: findings)
    assert main(["doctor"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["a", "ok", "fine"],
        ["b", "warning", "so", "so", "do", "this"],
    ]
    findings.append(Finding("c", Verdict.PROBLEM, "broken", "do that"))
    assert main(["doctor", "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)[2] == {
        "what": "c",
        "verdict": "problem",
        "found": "broken",
        "fix": "do that",
    }


def test_only_the_supported_pythons_are_fine() -> None:
    assert python_version(("3", "11")).verdict is Verdict.OK
    assert python_version(("3", "10")).verdict is Verdict.PROBLEM
    assert python_version(("3", "13")).fix == "use Python 3.11 or 3.12"


def test_a_package_that_is_missing_broken_or_of_another_version_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert installed("pydantic").verdict is Verdict.OK
    assert installed("no-such-package").found == "not installed"
    monkeypatch.setattr(checkup, "version", lambda name: "1.0")
    wrong = installed("pydantic")
    assert (wrong.verdict, wrong.found) == (Verdict.PROBLEM, "1.0")
    assert wrong.fix.startswith("pip install 'pydantic~=2.")


def test_our_packages_must_come_from_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert imported_from("cluster").verdict is Verdict.OK
    (tmp_path / "trainerz").mkdir()
    (tmp_path / "trainerz" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    other = imported_from("trainerz")
    assert (other.verdict, other.found) == (Verdict.PROBLEM, str(tmp_path / "trainerz"))


def test_a_small_machine_is_warned_of() -> None:
    assert (cpus(1).verdict, cpus(2).verdict) == (Verdict.WARNING, Verdict.OK)
    assert (memory(1 << 30).verdict, memory(8 << 30).verdict) == (Verdict.WARNING, Verdict.OK)


def test_missing_folders_are_found(tmp_path: Path) -> None:
    assert shared_memory(tmp_path / "shm").verdict is Verdict.WARNING
    assert home(tmp_path / "nobody").verdict is Verdict.WARNING
    assert home(tmp_path).verdict is Verdict.OK
    assert free_disk(tmp_path / "runs" / "to" / "be").verdict is not Verdict.PROBLEM


def test_an_address_where_no_ray_answers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], timeout: float) -> None:
        raise ConnectionRefusedError(f"nobody at {address}")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert ray_address("").verdict is Verdict.OK
    assert ray_address("auto").verdict is Verdict.OK
    assert ray_address("somewhere").verdict is Verdict.PROBLEM
    silent = ray_address("ray://head:10001")
    assert (silent.verdict, silent.found) == (
        Verdict.PROBLEM,
        "ray://head:10001 does not answer: nobody at ('head', 10001)",
    )


def test_processes_of_ended_runs_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    finished_run(tmp_path)
    assert leftovers(tmp_path).verdict is Verdict.OK
    monkeypatch.setattr(WorkerProcess, "is_here", lambda process: process.pid == 12)
    assert leftovers(tmp_path).fix == "kill 12"


def test_a_webhook_that_takes_nothing_is_named_with_since_when_and_why(tmp_path: Path) -> None:
    assert checkup.webhook(tmp_path, "ops").verdict is Verdict.OK
    failing = Failing(since="2026-01-31T00:00:00.000Z", why="it answered 500", run="otter")
    for standing, verdict in (
        (Standing(floor="2026-01-31", failing=failing), Verdict.WARNING),
        (Standing(floor="2026-01-31"), Verdict.OK),
    ):
        write_standing(standing_path(tmp_path, "ops"), standing)
        found = checkup.webhook(tmp_path, "ops")
        assert found.verdict is verdict
        assert ("it answered 500" in found.found) is (verdict is Verdict.WARNING)
