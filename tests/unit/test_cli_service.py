"""Commands that ask the service, on a REST interface in memory."""

import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.cli import places
from api.cli.main import main
from tests.unit.fake_rest import FakeRest, event_json, problem, run_json
from tests.unit.recorded_run import RecordedRun


@pytest.fixture(autouse=True)
def rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRest:
    monkeypatch.chdir(tmp_path)
    rest = FakeRest()
    monkeypatch.setattr(places, "find_service", rest.client)
    return rest


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main([*words, "-o", "json"]) == code
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(list(words)) == code
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry", "clone"])
def test_a_verb_says_where_the_run_stands_now(
    verb: str, rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.on("POST", f"/runs/otter/{verb}", run_json("otter", "RUNNING"))
    assert shown(capsys, verb, "otter") == "otter is RUNNING with 2/2 workers\n"
    assert told(capsys, verb, "otter")["status"] == "RUNNING"


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry"])
def test_a_verb_at_the_wrong_time_is_a_conflict(
    verb: str, rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.on("POST", f"/runs/otter/{verb}", problem(409, "wrong-status", "run 'otter' is SUCCEEDED"))
    assert main([verb, "otter"]) == 6
    assert capsys.readouterr().err == "run 'otter' is SUCCEEDED\n"


def test_a_run_of_the_service_takes_a_checkpoint_when_it_is_asked(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("otter"))
    rest.on("POST", "/runs/id-otter/checkpoint", run_json("otter"))
    assert main(["checkpoint", "take", "otter"]) == 0
    assert rest.asked()[-1] == "POST /runs/id-otter/checkpoint"
    assert "otter takes a checkpoint at its next step" in capsys.readouterr().err
    rest.on("POST", "/runs/id-otter/checkpoint", problem(409, "wrong-status", "run otter is QUEUED"))
    assert main(["checkpoint", "take", "otter"]) == 6


def test_a_run_of_no_service_says_when_it_takes_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places, "find_service", lambda: None)
    run = RecordedRun(Path("runs"), "live").run
    assert main(["checkpoint", "take", "live"]) == 6
    said = capsys.readouterr().err
    assert f"without one live takes it every {run.spec().checkpoint.every} steps" in said
    assert "tumbler submit" in said
    assert main(["checkpoint", "take", "nobody"]) == 4


@pytest.mark.parametrize(
    ("typed", "sent"),
    [("3", {"workers": 3}), ("2:4", {"min": 2, "max": 4})],
)
def test_scale_takes_a_number_or_bounds(typed: str, sent: object, rest: FakeRest) -> None:
    rest.on("POST", "/runs/otter/scale", run_json("otter"))
    assert main(["scale", "otter", typed]) == 0
    assert rest.sent() == sent


@pytest.mark.parametrize(
    "words",
    [
        ["scale", "otter", "many"],
        ["patch", "otter"],
        ["patch", "otter", "name=x"],
        ["patch", "otter", "labels.=x"],
        ["clone", "otter", "--set", "train.steps"],
        ["rm"],
        ["wait", "otter", "--timeout", "soon"],
    ],
)
def test_what_makes_no_sense_is_exit_code_2_and_sends_nothing(
    words: list[str], rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("otter"))
    assert main(words) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert {request.method for request in rest.requests} <= {"GET"}


def test_patch_changes_labels_priority_and_workers(rest: FakeRest) -> None:
    rest.has(run_json("otter")).on("PATCH", "/runs/otter", run_json("otter"))
    words = ["priority=70", "labels.team=nlp", "labels.draft-", "workers=1:4"]
    assert main(["patch", "otter", *words]) == 0
    assert rest.sent("PATCH") == {
        "priority": 70,
        "labels": {"team": "nlp", "draft": None},
        "workers": {"min": 1, "max": 4},
    }
    assert rest.requests[-1].headers["If-Match"] == "*"


def test_a_clone_takes_a_name_and_overrides_as_a_spec_file_reads_them(rest: FakeRest) -> None:
    rest.on("POST", "/runs/otter/clone", run_json("twin"))
    words = ["--name", "twin", "--set", "train.steps=50", "--set", "labels.team=nlp"]
    assert main(["clone", "otter", *words]) == 0
    assert rest.sent() == {"name": "twin", "overrides": {"train.steps": 50, "labels.team": "nlp"}}


def test_removing_wants_a_word_from_somebody(
    rest: FakeRest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("otter", "FAILED")).on("DELETE", "/runs/id-otter", httpx2.Response(204))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert main(["rm", "otter"]) == 2
    assert "--force" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: "n")
    assert main(["rm", "otter"]) == 0
    assert "DELETE /runs/id-otter" not in rest.asked()
    assert main(["rm", "otter", "--force", "--keep-files"]) == 0
    assert rest.requests[-1].url.params["keep_files"] == "true"


def test_the_list_says_who_works_how_old_and_what_the_queued_wait_for(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "2 CPU are free and its smallest group needs 4"
    idle = {"min": 4, "max": 4, "now": 0, "target": 0}
    wait = {"position": None, "why": why}
    rest.has(
        run_json("otter"),
        run_json("calm-owl", "QUEUED", step=0, total_steps=None, metrics={}, workers=idle, wait=wait),
    )
    head, first, second = shown(capsys, "ls").splitlines()
    assert head.split() == ["NAME", "STATUS", "STEP", "LOSS", "WORKERS", "AGE", "WAITS", "FOR"]
    assert first.split()[:5] == ["otter", "RUNNING", "40/100", "2.5", "2/2"]
    assert second.endswith(why)


def test_the_list_passes_its_conditions_on(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.has()
    words = [
        "--status",
        "running",
        "--status",
        "queued",
        "--label",
        "team=nlp",
        "--queue",
        "q",
        "--limit",
        "7",
    ]
    assert main(["ls", *words]) == 0
    asked = rest.requests[0].url.params
    assert asked.get_list("status") == ["RUNNING", "QUEUED"]
    assert (asked["label"], asked["queue"], asked["limit"]) == ("team=nlp", "q", "7")
    assert "tumbler submit" in capsys.readouterr().err


def test_describe_says_why_a_run_waits_and_what_to_do(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    wait = {"position": 3, "why": "no node has a GPU"}
    rest.has(run_json("otter", "QUEUED", wait=wait))
    said = shown(capsys, "describe", "otter")
    assert "why does it wait?  no node has a GPU" in said
    assert "  tumbler cancel otter" in said.splitlines()


def test_describe_says_why_a_run_that_trains_has_no_more_workers(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "2 of 4 workers: queue nlp is at its quota; gets more when brave-otter ends, about 4 min"
    rest.has(run_json("otter", wait={"position": None, "why": why}))
    assert f"why not more workers?  {why}" in shown(capsys, "describe", "otter")


def test_describe_shows_attempts_generations_and_the_last_events(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("otter", "FAILED", reason="NoProgress", message="three losses at step 40"))
    attempt = {
        "number": 1,
        "started": "s",
        "ended": "e",
        "reason": "WorkerLost",
        "first_step": 0,
        "last_step": 40,
    }
    rest.on("GET", "/runs/id-otter/attempts", {"attempts": [attempt]})
    generation = {"attempt": 1, "number": 3, "formed": "f", "step": 30, "workers": ["w1", "w3"]}
    rest.on("GET", "/runs/id-otter/generations", {"generations": [generation]})
    events = [event_json(number, "evaluated", f"message {number}") for number in range(1, 13)]
    rest.on("GET", "/runs/id-otter/events", {"events": events, "next_after": 12})
    said = shown(capsys, "describe", "otter")
    assert "WorkerLost" in said
    assert "w1, w3" in said
    assert "message 12" in said
    assert "message 2\n" not in said
    assert "tumbler retry otter" in said
    rest.on("GET", "/runs/id-otter/events", {"events": [], "next_after": 0})
    content = told(capsys, "describe", "otter")
    assert (content["attempts"], content["generations"]) == ([attempt], [generation])


def test_events_are_those_of_the_journal_format(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    events = [event_json(1, "run-started", "go"), event_json(2, "worker-lost", "oh", worker="w2")]
    rest.on("GET", "/runs/otter/events", {"events": events, "next_after": 2})
    (found,) = told(capsys, "events", "otter", "--kind", "worker-lost")
    assert (found["worker"], found["kind"], found["seq"]) == ("w2", "worker-lost", 2)


def test_events_are_followed_until_the_run_has_ended(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.on("GET", "/runs/otter", run_json("otter"), run_json("otter", "SUCCEEDED"))
    first = {"events": [event_json(1, "run-started", "go")], "next_after": 1}
    last = {"events": [event_json(2, "run-ended", "over")], "next_after": 2}
    rest.on("GET", "/runs/otter/events", first, last)
    assert main(["events", "otter", "-f", "-o", "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["run-started", "run-ended"]


def test_metrics_are_a_table_of_steps(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.on("GET", "/runs/otter/metrics", {"step": [1, 2], "loss": [2.5, 2.0], "val_loss": [None, 1.5]})
    lines = shown(capsys, "metrics", "otter", "--keys", "loss,val_loss").splitlines()
    assert [line.split() for line in lines] == [["STEP", "LOSS", "VAL_LOSS"], ["1", "2.5"], ["2", "2", "1.5"]]
    assert dict(rest.requests[0].url.params) == {"keys": "loss,val_loss", "max_points": "20"}
    told(capsys, "metrics", "otter")
    assert rest.requests[-1].url.params["max_points"] == "100000"


def test_logs_go_on_behind_the_cursor(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.has(run_json("otter", "SUCCEEDED"))
    lines = [{"worker": "w1", "attempt": 1, "text": "hello"}, {"worker": "w2", "attempt": 1, "text": "you"}]
    rest.on("GET", "/runs/otter/logs", {"lines": lines, "next": "c1"}, {"lines": [], "next": "c1"})
    assert shown(capsys, "logs", "otter", "-f", "--tail", "5").splitlines() == ["w1: hello", "w2: you"]
    logs = [request.url.params for request in rest.requests if request.url.path.endswith("/logs")]
    assert [one.get("since") for one in logs] == [None, "c1"]
    assert logs[0]["tail"] == "5"


def test_a_worker_without_a_log_is_named_with_those_that_have_one(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("otter"))
    rest.on(
        "GET",
        "/runs/otter/logs",
        {"lines": [], "next": "c"},
        {"lines": [{"worker": "w1", "attempt": 1, "text": "x"}], "next": "c"},
    )
    assert main(["logs", "otter", "--worker", "w9"]) == 4
    assert "it has w1" in capsys.readouterr().err


def test_nodes_and_workers_are_listed(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"id": "n" * 40, "address": "10.0.0.1", "hostname": "one", "alive": True, "head": True}
    resources = {"CPU": 4.0, "memory": 2.0**30, "node:10.0.0.1": 1.0}
    rest.on("GET", "/cluster/nodes", {"nodes": [{**node, "resources": resources}], "trouble": None})
    assert shown(capsys, "nodes", "ls").splitlines()[1].split()[:4] == ["one", "10.0.0.1", "alive", "head"]
    assert "4 CPU, 1.0 GiB" in shown(capsys, "nodes", "ls")
    worker = {"worker": "w1", "attempt": 1, "state": "training", "pid": 12, "node_id": "n", "since": "s"}
    rest.on("GET", "/runs/otter/workers", {"workers": [worker]})
    assert told(capsys, "workers", "otter") == [worker]


def test_a_run_that_nobody_knows_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["get", "x"], ["describe", "x"], ["watch", "x"], ["wait", "x"], ["rm", "x", "--force"]):
        assert main(words) == 4
    assert "did you mean another?" in capsys.readouterr().err
