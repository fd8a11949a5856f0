"""`tumbler submit`: what is sent, what is refused, and how the run is followed."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from api.cli import places
from api.cli.main import main
from cluster.errors import PackageRefused
from tests.unit.fake_rest import FakeRest, event_json, message, problem, run_json

QUEUED = run_json("otter", "QUEUED", step=0, attempt=0)


@dataclass(frozen=True)
class Packed:
    sha256: str = "a" * 64
    content: bytes = b"zip"
    num_bytes: int = 3


class FakePackages(ModuleType):
    """Stands in for `cluster.packages`."""

    def __init__(self) -> None:
        super().__init__("cluster.packages")
        self.packed: list[tuple[Path, tuple[str, ...]]] = []
        self.refusal = ""

    def pack(self, folder: Path, exclude: tuple[str, ...]) -> Packed:
        if self.refusal:
            raise PackageRefused(self.refusal)
        self.packed.append((folder, tuple(exclude)))
        return Packed()


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch) -> FakePackages:
    found = FakePackages()
    monkeypatch.setitem(sys.modules, "cluster.packages", found)
    return found


@pytest.fixture(autouse=True)
def rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRest:
    monkeypatch.chdir(tmp_path)
    rest = FakeRest().has(QUEUED).on("POST", "/runs", httpx2.Response(201, json=QUEUED))
    monkeypatch.setattr(places, "find_service", rest.client)
    return rest


def write(text: str) -> None:
    Path("run.yaml").write_text(text)


def submit(*words: str) -> int:
    return main(["submit", "-f", "run.yaml", *words])


def test_only_what_was_written_is_sent(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    write("task: language_model\nworkers: 1:4\n")
    assert submit("--detach", "--set", "train.steps=50") == 0
    assert capsys.readouterr().out == "otter\n"
    assert rest.sent() == {
        "task": "language_model",
        "workers": {"min": 1, "max": 4},
        "train": {"steps": 50},
    }


def test_a_run_that_can_never_fit_is_submitted_and_that_is_said(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "can never fit: needs 8 workers of 1 CPU each; the cluster has 2 CPU on 1 node"
    rest.on("POST", "/runs", httpx2.Response(201, json={**QUEUED, "wait": {"position": None, "why": why}}))
    write("task: language_model\nworkers: 8\n")
    assert submit("--detach") == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("otter\n", f"run otter waits: {why}\n")


def test_relative_paths_count_from_here(rest: FakeRest, tmp_path: Path) -> None:
    write("task: language_model\ndata: {source: ./text}\ncheckpoint: {storage: file://./out}\n")
    assert submit("-d") == 0
    assert rest.sent()["data"]["source"] == str(tmp_path / "text")
    assert rest.sent()["checkpoint"]["storage"] == str(tmp_path / "out")


def test_paths_of_checkpoints_count_from_here_and_names_and_uris_stay(rest: FakeRest, tmp_path: Path) -> None:
    paths = "checkpoint: {location: ./out}\ntrain: {from_checkpoint: ./runs/badger@100}\n"
    write(f"task: language_model\n{paths}")
    assert submit("-d") == 0
    assert rest.sent()["checkpoint"]["location"] == str(tmp_path / "out")
    assert rest.sent()["train"]["from_checkpoint"] == f"{tmp_path}/runs/badger@100"
    write("task: language_model\ncheckpoint: {location: 's3://bucket'}\ntrain: {from_checkpoint: badger}\n")
    assert submit("-d") == 0
    assert rest.sent()["checkpoint"]["location"] == "s3://bucket"
    assert rest.sent()["train"]["from_checkpoint"] == "badger"


def test_a_data_set_by_name_and_a_storage_left_out_stay_as_they_are(rest: FakeRest) -> None:
    write("task: language_model\ndata: {source: 'dataset://stdlib'}\ncheckpoint: {every: 10}\n")
    assert submit("-d") == 0
    assert rest.sent()["data"] == {"source": "dataset://stdlib"}
    assert rest.sent()["checkpoint"] == {"every": 10}


def test_a_built_in_task_sends_no_code(rest: FakeRest, packages: FakePackages) -> None:
    write("task: language_model\ncode: {working_dir: .}\n")
    assert submit("-d") == 0
    assert packages.packed == []
    assert "working_dir" not in rest.sent()["code"]


@pytest.mark.parametrize("what", ["task: mine:Digits", "entrypoint: mine:train", "command: python train.py"])
def test_your_own_code_is_packed_and_sent_once(
    what: str, rest: FakeRest, packages: FakePackages, tmp_path: Path
) -> None:
    write(f"{what}\ncode: {{working_dir: src, exclude: ['*.bin']}}\n")
    sha = "a" * 64
    rest.on("HEAD", f"/packages/{sha}", httpx2.Response(404), httpx2.Response(200))
    rest.on("PUT", f"/packages/{sha}", httpx2.Response(201, json={}))
    assert submit("-d") == 0
    assert submit("-d") == 0
    assert packages.packed[0] == (Path("src"), ("*.bin",))
    assert rest.sent()["code"]["working_dir"] == f"package://{sha}"
    assert rest.asked().count(f"PUT /packages/{sha}") == 1


def test_code_that_cannot_be_sent_is_placed_in_the_file(
    rest: FakeRest, packages: FakePackages, capsys: pytest.CaptureFixture[str]
) -> None:
    write("command: ./go\ncode:\n  working_dir: src\n")
    packages.refusal = "src has 3.1 GiB, expected at most 200.0 MiB"
    assert submit() == 3
    assert capsys.readouterr().err.startswith("run.yaml:3:3 code.working_dir: src has 3.1 GiB")
    assert rest.requests == []


def test_what_is_wrong_with_a_spec_is_said_before_anything_is_sent(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    write("task: language_model\nworkers: {mx: 4}\ntrain: {steps: none}\n")
    assert submit() == 3
    said = capsys.readouterr().err
    assert "run.yaml:2:11 workers.mx: unknown field, did you mean 'max'?" in said
    assert "run.yaml:3:9" in said
    write("task: language_model\nmodel: {preset: gpt-nanoo}\n")
    assert submit() == 3
    assert "run.yaml:2:9 model.preset" in capsys.readouterr().err
    assert rest.requests == []


def test_what_the_service_finds_wrong_is_placed_in_the_file_too(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    write("task: language_model\nsecrets:\n  - KEY\n")
    found = [{"pointer": "/secrets", "message": "there is no store of secrets"}]
    rest.on("POST", "/runs", problem(422, "spec-error", "one", errors=found))
    assert submit() == 3
    assert capsys.readouterr().err == "run.yaml:2:1 secrets: there is no store of secrets\n"


def test_a_dry_run_says_what_would_become_of_it(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    write("task: language_model\n")
    plan = {"workers": {"min": 1, "max": 1}, "fits": True, "why": "2 runs are ahead of it", "ahead": 2}
    rest.on("POST", "/runs", {"spec": {"name": "otter"}, "plan": plan})
    assert submit("--dry-run") == 0
    assert "2 runs are ahead of it" in capsys.readouterr().out
    assert rest.requests[-1].url.params["dry_run"] == "true"
    assert "Idempotency-Key" not in rest.requests[-1].headers


def story(end: str) -> list[bytes | Exception]:
    """The stream of a run that trains and ends."""
    running = run_json("otter", "RUNNING", step=1, workers={"min": 1, "max": 2, "now": 2, "target": 2})
    over = {"status": end, "reason": "x", "message": "so it was", "deleted": False}
    return [
        message("status", {**QUEUED}, "0.0"),
        message("status", running, "0.0"),
        message("event", event_json(1, "generation-started", "generation 1: 2 workers go on"), "1.0"),
        message("metric", {"points": [{"step": 2, "loss": 2.25, "count": 100}]}, "1.1"),
        message("event", event_json(2, "worker-lost", "worker w2 was lost"), "2.1"),
        message("end", over, "2.1"),
    ]


@pytest.mark.parametrize(("end", "code"), [("SUCCEEDED", 0), ("FAILED", 100), ("CANCELLED", 103)])
def test_a_submitted_run_is_followed_and_its_end_is_the_exit_code(
    end: str, code: int, rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    write("task: language_model\n")
    waiting = {**QUEUED, "wait": {"position": 1, "why": "its workers do not fit yet"}}
    rest.on("GET", "/runs/id-otter", waiting, run_json("otter", end, message="so it was"))
    rest.streams = [story(end)]
    assert submit("-o", "json") == code
    said = capsys.readouterr()
    assert json.loads(said.out)["status"] == end
    assert "worker w2 was lost" in said.err
    assert "run otter" in said.err


def test_a_stream_that_breaks_while_a_run_is_followed_is_taken_up_again(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    write("task: language_model\n")
    whole = story("SUCCEEDED")
    rest.on("GET", "/runs/id-otter", run_json("otter", "SUCCEEDED"))
    rest.streams = [[*whole[:4], httpx2.ReadError("gone")], [httpx2.ConnectError("no")], whole[3:]]
    assert submit() == 0
    said = capsys.readouterr().err
    assert said.count("worker w2 was lost") == 1
    assert "training is not affected" in said
    streams = [request for request in rest.requests if request.url.path.endswith("/stream")]
    assert [request.headers.get("Last-Event-ID") for request in streams] == [None, "1.1", "1.1"]


def test_the_traceback_of_your_own_code_is_shown_where_that_failed(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    write("task: language_model\n")
    rest.on("GET", "/runs/id-otter", run_json("otter", "FAILED", reason="MaxFailuresExceeded"))
    raised = event_json(3, "user-error", "ValueError", traceback="Traceback: in your loss")
    rest.on("GET", "/runs/id-otter/events", {"events": [raised], "next_after": 3})
    rest.streams = [[message("end", {"status": "FAILED", "message": ""})]]
    assert submit() == 100
    said = capsys.readouterr().err
    assert "Traceback: in your loss" in said
    assert "see `tumbler events otter` and `tumbler logs otter`" in said


def test_ctrl_c_leaves_the_run_to_train_on_and_says_how_to_cancel(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    write("task: language_model\n")

    def interrupted() -> Any:
        yield message("status", run_json("otter"), "0.0")
        raise KeyboardInterrupt

    rest.on(
        "GET",
        "/runs/id-otter/stream",
        httpx2.Response(200, content=interrupted(), headers={"Content-Type": "text/event-stream"}),
    )
    assert submit() == 130
    said = capsys.readouterr().err
    assert "tumbler cancel otter" in said
    assert not any(path.endswith("/cancel") for path in rest.asked())
