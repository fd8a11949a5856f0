"""Who is asked about a run."""

import json
import os
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.cli import places
from api.cli.main import main
from api.cli.places import living_service, service_for
from api.cli.processes import is_alive, start_ticks
from api.client import Client
from tests.unit.fake_rest import FakeRest, run_json
from tests.unit.recorded_run import finished_run

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> FakeRest:
    """A service runs here."""
    rest = FakeRest()
    monkeypatch.setattr(places, "find_service", rest.client)
    return rest


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "-o", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_path_and_a_storage_mean_directories_and_a_name_means_the_service(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("brave-otter", "RUNNING"))
    finished_run(Path("runs"))
    assert told(capsys, "get", "runs/brave-otter")["status"] == "SUCCEEDED"
    assert told(capsys, "get", "brave-otter", "--storage", "runs")["status"] == "SUCCEEDED"
    assert rest.requests == []
    assert told(capsys, "get", "brave-otter")["status"] == "RUNNING"


def test_a_folder_of_this_place_that_is_a_run_directory_is_a_path(rest: FakeRest) -> None:
    finished_run(Path())
    assert service_for("brave-otter", None) is None
    assert service_for("brave", None) is not None


def test_where_no_service_runs_directories_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    assert told(capsys, "get", "brave")["status"] == "SUCCEEDED"
    assert [run["name"] for run in told(capsys, "ls")] == ["brave-otter"]


def test_a_service_that_was_named_and_does_not_answer_is_exit_code_7(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finished_run(Path("runs"))
    gone = FakeRest()
    monkeypatch.setenv("TUMBLER_URL", "http://127.0.0.1:1")
    named: list[str] = []

    def connect(url: str) -> Client:
        named.append(url)
        return gone.client()

    monkeypatch.setattr(places, "Client", connect)
    gone.on("GET", "/runs/brave", httpx2.ConnectError("refused"))
    assert main(["get", "brave"]) == 7
    assert named == ["http://127.0.0.1:1"]
    assert "tumbler up" in capsys.readouterr().err


def test_what_only_a_service_can_do_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pause", "brave"]) == 7
    assert capsys.readouterr().err.splitlines() == [
        "no service runs here",
        "start one with `tumbler up`, or name one with TUMBLER_URL",
    ]


def test_commands_that_read_files_find_them_by_the_service(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(Path("elsewhere"))
    rest.has(run_json("brave-otter", "SUCCEEDED", path=str(run.path.absolute())))
    assert main(["audit", "brave-otter", "--scan"]) == 1
    assert "the sources were not scanned" in capsys.readouterr().err
    rest.has(run_json("far-away", "SUCCEEDED", path="/not/here"))
    assert main(["audit", "far-away", "--scan"]) == 4
    assert "cannot be seen from here: /not/here" in capsys.readouterr().err


def test_a_run_of_the_service_is_audited_by_it_wherever_its_directory_is(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("far-away", "SUCCEEDED", path="/not/here", spec=None))
    rest.on("GET", "/runs/far-away/audit", {"run": "far-away", "ok": True, "of_a_later_version": 1})
    assert told(capsys, "audit", "far-away")["ok"] is True
    problem = "step 3 is missing"
    rest.on("GET", "/runs/far-away/audit", {"run": "far-away", "ok": False, "problems": [problem]})
    assert main(["audit", "far-away"]) == 1
    assert capsys.readouterr().err.splitlines() == [problem]


def test_the_service_of_a_home_counts_only_while_it_lives(tmp_path: Path) -> None:
    file = tmp_path / "service.json"
    assert living_service(file) is None
    me = {"pid": os.getpid(), "url": "http://127.0.0.1:8700"}
    file.write_text(json.dumps(me))
    assert living_service(file) is None, "this process is no service"
    file.write_text(json.dumps({**me, "pid": 2**22 + 1}))
    assert living_service(file) is None
    file.write_text("{")
    assert living_service(file) is None


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    ticks = start_ticks(os.getpid())
    assert is_alive(os.getpid(), ticks)
    assert is_alive(os.getpid(), None, calls="python")
    assert not is_alive(os.getpid(), (ticks or 0) + 1)
    assert not is_alive(os.getpid(), ticks, calls="no such program")
