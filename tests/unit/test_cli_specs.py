import json
from pathlib import Path

import pytest

from api.cli.main import main
from orchestrator.domain.spec_file import load_spec


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str) -> None:
    Path("run.yaml").write_text(text)


@pytest.mark.parametrize("task", ["language_model", "mine.tasks:Digits"])
def test_what_init_writes_is_valid(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--task", task]) == 0
    assert load_spec(Path("run.yaml")).task == task
    assert main(["validate", "-f", "run.yaml"]) == 0
    assert "tumbler run -f run.yaml" in capsys.readouterr().err


def test_init_does_not_overwrite_unless_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    write("mine")
    assert main(["init"]) == 6
    assert Path("run.yaml").read_text() == "mine"
    assert "run.yaml is there already" in capsys.readouterr().err
    assert main(["init", "--force"]) == 0
    assert load_spec(Path("run.yaml")).task == "language_model"


def test_init_refuses_a_task_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--task", "languagemodel"]) == 3
    assert "did you mean 'language_model'?" in capsys.readouterr().err
    assert not Path("run.yaml").exists()


def test_a_valid_spec_is_told_with_its_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    write("task: language_model\nworkers: 1:4\n")
    assert main(["validate", "run.yaml", "--set", "train.steps=50", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert found["spec"]["workers"] == {"min": 1, "max": 4}
    assert found["spec"]["train"]["steps"] == 50
    assert len(found["fingerprint"]) == 64


def test_nothing_is_written_by_validate() -> None:
    write("task: language_model\n")
    assert main(["validate", "-f", "run.yaml"]) == 0
    assert [path.name for path in Path().iterdir()] == ["run.yaml"]


def test_problems_of_the_door_and_of_the_model_come_at_once_with_their_places(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("task: language_model\nmodel:\n  preset: gpt-nanoo\nsecrets: [KEY]\n")
    assert main(["validate", "-f", "run.yaml"]) == 3
    said = capsys.readouterr().err
    assert "run.yaml:3:" in said
    assert "model.preset" in said
    assert "run.yaml:4:" in said
    assert "secrets" in said


@pytest.mark.parametrize("source", ["corpus", "./corpus/*.txt", "~/corpus", "file:///nowhere/corpus"])
def test_data_that_are_not_there_are_told_as_a_run_tells_it(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    write(f"task: language_model\ndata:\n  source: '{source}'\n")
    assert main(["validate", "-f", "run.yaml"]) == 3
    said = capsys.readouterr().err
    assert "run.yaml:3:" in said
    assert "/corpus does not exist" in said or "/corpus/*.txt matches no file" in said
    assert "on the machine of the head" in said
    if not source.startswith("file:"):
        Path("corpus").mkdir()
        Path("corpus/a.txt").write_text("something")
        assert main(["validate", "-f", "run.yaml"]) == 0


def test_a_task_of_ones_own_may_make_something_else_of_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    write("task: mine.tasks:Digits\ndata: {source: digits}\n")
    assert main(["validate", "-f", "run.yaml"]) == 0
    assert "/digits does not exist" in capsys.readouterr().err
    write("command: python train.py\ndata: {source: 's3://bucket/corpus'}\n")
    assert main(["validate", "-f", "run.yaml"]) == 0
    assert "does not exist" not in capsys.readouterr().err


def test_problems_are_told_to_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    write("task: language_model\nworkers: {mx: 2}\n")
    assert main(["validate", "-f", "run.yaml", "-o", "json"]) == 3
    (problem,) = json.loads(capsys.readouterr().out)["errors"]
    assert problem == {
        "pointer": "workers.mx",
        "message": "unknown field, did you mean 'max'?",
        "file": "run.yaml",
        "line": 2,
        "column": 11,
    }


def test_a_run_with_a_wrong_spec_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("task: language_model\nsecrets: [KEY]\n")
    assert main(["run", "-f", "run.yaml", "-o", "json"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "run.yaml:2:" in said.err
    assert not Path("runs").exists()


def test_a_spec_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-f", "nowhere.yaml"]) == 3
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "there is no file nowhere.yaml",
        "`tumbler init` writes a spec to start from",
    ]
