import json
import math
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from api.cli.main import main
from api.cli.output import Format, put
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.recorded_run import RecordedRun, finished_run

pytestmark = pytest.mark.usefixtures("own_folder")


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main([*words, "-o", "json"]) == code
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[str]:
    assert main(list(words)) == code
    return capsys.readouterr().out.splitlines()


def test_the_audit_is_the_published_json(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    report = told(capsys, "audit", "brave-otter")
    promised = ["run", "epochs", "steps", "parameters_sha256", "optimizer_sha256", "chain", "ok"]
    assert list(report) == [*promised, "problems", "notes"]
    assert report["epochs"] == [{"epoch": 0, "expected": 32, "consumed": 32, "repeated": 0, "missed": 0}]
    assert (report["run"], report["steps"], report["ok"]) == ("brave-otter", 8, True)
    assert report["parameters_sha256"] == "p" * 64
    assert [link["step"] for link in report["chain"]] == [8]


def test_an_audit_that_finds_something_exits_with_1_and_says_what(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = RecordedRun(Path("runs"))
    recorded.steps(1, 2)
    recorded.steps(4, 4)
    recorded.recorder.close()
    assert main(["audit", "brave-otter", "-o", "json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["ok"] is False
    assert "step 3 is missing" in said.err
    assert "problem" in " ".join(shown(capsys, "audit", "brave-otter", code=1))


def test_a_run_is_found_by_path_prefix_and_storage(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    finished_run(Path("elsewhere"), "calm-owl")
    assert told(capsys, "get", "bra")["name"] == "brave-otter"
    assert told(capsys, "get", "runs/brave-otter/")["name"] == "brave-otter"
    assert told(capsys, "get", "calm", "--storage", "elsewhere")["name"] == "calm-owl"
    assert main(["get", "calm"]) == 4


def test_the_storage_can_come_from_the_environment_and_a_flag_goes_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run(Path("elsewhere"), "calm-owl")
    monkeypatch.setenv("TUMBLER_STORAGE", "elsewhere")
    assert told(capsys, "get", "calm")["name"] == "calm-owl"
    assert main(["get", "calm", "--storage", "runs"]) == 4


def test_get_shows_the_state_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    state = told(capsys, "get", "brave-otter")
    assert (state["status"], state["step"], state["reason"]) == ("SUCCEEDED", 8, "Finished")
    assert state["path"] == "runs/brave-otter"
    lines = shown(capsys, "get", "brave-otter")
    assert "status      SUCCEEDED" in lines
    assert any("loss 1" in line and "val_perplexity 2.718" in line for line in lines)
    assert "parameters  " + "p" * 64 in lines


def test_yaml_says_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    as_json = told(capsys, "get", "brave-otter")
    assert main(["get", "brave-otter", "-o", "yaml"]) == 0
    assert YAML(typ="safe").load(capsys.readouterr().out) == as_json


def test_runs_are_listed_with_the_broken_ones_named(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    failed = RecordedRun(Path("runs"), "calm-owl")
    failed.ended(RunStatus.FAILED, EndReason.NO_PROGRESS)
    broken = finished_run(Path("runs"), "dim-newt")
    broken.status_path.write_text("{")
    assert {run["name"]: run["status"] for run in told(capsys, "ls")} == {
        "brave-otter": "SUCCEEDED",
        "calm-owl": "FAILED",
    }
    assert main(["ls"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0].split() == ["NAME", "STATUS", "STEP", "LOSS", "CREATED"]
    assert "dim-newt/status.json is broken" in said.err


def test_an_empty_storage_says_how_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "tumbler run" in said.err
    assert told(capsys, "ls") == []


def test_events_can_be_chosen_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    assert [event["worker"] for event in told(capsys, "events", "brave-otter", "--kind", "worker-lost")] == [
        "w2"
    ]
    lines = shown(capsys, "events", "brave-otter")
    assert "worker w2 was lost: its process died" in "\n".join(lines)
    assert lines[-1].endswith("the run ended: Finished")


def test_following_the_events_of_an_ended_run_ends(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    assert main(["events", "brave-otter", "-f", "-o", "json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (lines[0]["kind"], lines[-1]["kind"]) == ("run-started", "run-ended")


def test_metrics_leave_out_what_was_undone(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = RecordedRun(Path("runs"))
    recorded.steps(1, 5)
    recorded.formed(2, "w1", step=2)
    recorded.steps(3, 4, workers=1, generation=2)
    recorded.recorder.close()
    points = told(capsys, "metrics", "brave-otter", "--keys", "generation")
    assert points == [
        {"step": 1, "generation": 1},
        {"step": 2, "generation": 1},
        {"step": 3, "generation": 2},
        {"step": 4, "generation": 2},
    ]


def test_metrics_show_steps_and_evaluations_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    points = told(capsys, "metrics", "brave-otter")
    assert [point["step"] for point in points] == list(range(1, 9))
    assert (points[7]["loss"], points[7]["val_loss"], points[3]["workers"]) == (1.0, 1.0, 1)
    lines = shown(capsys, "metrics", "brave-otter", "--keys", "loss,val_loss", "--max-points", "3")
    assert [line.split() for line in lines] == [
        ["STEP", "LOSS", "VAL_LOSS"],
        ["1", "4.5"],
        ["5", "2.5"],
        ["8", "1", "1"],
    ]


def test_a_metric_that_nobody_measured_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    assert main(["metrics", "brave-otter", "--keys", "los"]) == 0
    assert "no step has 'los'" in capsys.readouterr().err


def test_numbers_that_json_does_not_know_become_words(capsys: pytest.CaptureFixture[str]) -> None:
    put({"a": [math.nan, math.inf, -math.inf, 1.5]}, {}, Format.JSON)
    assert json.loads(capsys.readouterr().out) == {"a": ["NaN", "Infinity", "-Infinity", 1.5]}


def test_logs_say_whose_line_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(Path("runs"))
    (run.logs / "1-w1.log").write_text("hello\nworld\n")
    (run.logs / "1-w2.log").write_text("from two\n")
    (run.logs / "2-w1.log").write_text("of a later attempt\n")
    assert shown(capsys, "logs", "brave-otter") == ["w1: hello", "w1: world", "w2: from two"]
    assert shown(capsys, "logs", "brave-otter", "--worker", "w2") == ["from two"]
    assert shown(capsys, "logs", "brave-otter", "--attempt", "2", "-f") == ["w1: of a later attempt"]
    assert main(["logs", "brave-otter", "--worker", "w9"]) == 4
    assert "it has w1, w2" in capsys.readouterr().err


def test_a_run_that_printed_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    finished_run(Path("runs"))
    assert main(["logs", "brave-otter"]) == 0
    assert "printed nothing" in capsys.readouterr().err


def test_a_run_without_a_checkpoint_has_nothing_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = RecordedRun(Path("runs"), task=None, command="true")
    assert main(["generate", str(recorded.run.path), "--prompt", "x"]) == 1
    assert "trains code of its own, not a Tumbler task" in capsys.readouterr().err


def test_data_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = told(capsys, "datasets", "ls")
    assert found["source"] == "dataset://stdlib"
    assert found["files"] > 1000


def test_a_data_set_is_added_by_name_and_its_rows_are_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text("x" * 5000)
    added = told(capsys, "datasets", "add", "mine", str(tmp_path / "text.txt"), "--storage", str(tmp_path))
    assert (added["source"], added["files"], added["bytes"]) == ("dataset://mine", 1, 5000)
    assert [entry["source"] for entry in told(capsys, "datasets", "ls", "--storage", str(tmp_path))] == [
        "dataset://stdlib",
        "dataset://mine",
    ]
    spec = tmp_path / "run.yaml"
    spec.write_text("task: language_model\ntrain: {steps: 1, global_batch: 8}\n")
    settings = ["data.source=dataset://mine", f"checkpoint.storage={tmp_path}"]
    arguments = ["datasets", "prepare", "-f", str(spec), *(f"--set={setting}" for setting in settings)]
    made = told(capsys, *arguments)
    assert made["rows"] == 40
    assert told(capsys, *arguments) == made
    assert Path(made["folder"]).parent == tmp_path / ".datasets"
