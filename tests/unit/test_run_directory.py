import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.domain.errors import RunExists, RunNotFound, SpecError, StorageError
from orchestrator.domain.run_directory import RunDirectory, RunState, storage_path
from orchestrator.domain.spec import RunSpec, WorkersSpec
from orchestrator.domain.status import EndReason, RunStatus

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def spec(name: str = "brave-otter", steps: int = 100, priority: int = 50) -> RunSpec:
    return RunSpec.parse(
        {"name": name, "task": "language_model", "train": {"steps": steps}, "priority": priority}
    )


def running(run: RunDirectory, attempt: int = 1, step: int = 7) -> RunState:
    return RunState(
        run=run.name,
        attempt=attempt,
        status=RunStatus.RUNNING,
        updated="2026-01-31T00:00:01.000Z",
        step=step,
        metrics={"loss": 2.5},
        checkpoint="checkpoints/step-5",
    )


def test_a_new_run_has_its_record_its_spec_and_a_first_status(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, spec(), now=NOW)
    assert json.loads((tmp_path / "brave-otter" / "run.json").read_text()) == {
        "format": 1,
        "name": "brave-otter",
        "created": "2026-01-31T00:00:00.000Z",
        "attempt": 1,
    }
    assert run.spec() == spec()
    assert run.spec_path.read_text() == spec().canonical_json()
    assert run.read_status().status is RunStatus.QUEUED
    assert run.outbox.is_dir()
    assert run.logs.is_dir()
    assert run.checkpoints.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["brave-otter"]


def test_an_existing_run_is_refused_with_the_ways_out_and_left_alone(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, spec())
    run.write_status(running(run))
    with pytest.raises(RunExists, match="run 'brave-otter' already exists") as caught:
        RunDirectory.create(tmp_path, spec(steps=200))
    assert "--resume" in caught.value.hint
    assert "another name" in caught.value.hint
    assert run.read_status().step == 7
    assert [path.name for path in tmp_path.iterdir()] == ["brave-otter"]


def test_resuming_begins_the_next_attempt_and_keeps_how_far_the_run_came(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, spec())
    failed = running(run).model_copy(
        update={"status": RunStatus.FAILED, "reason": EndReason.NO_PROGRESS, "message": "stuck"}
    )
    run.write_status(failed)
    run = RunDirectory.create(tmp_path, spec(priority=99), resume=True)
    state = run.read_status()
    assert run.record().attempt == state.attempt == 2
    assert (state.status, state.reason, state.message) == (RunStatus.QUEUED, None, "")
    assert (state.step, state.checkpoint) == (7, "checkpoints/step-5")


def test_resuming_with_another_spec_is_refused_and_names_what_changed(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, spec())
    with pytest.raises(RunExists, match=r"with another spec: train\.steps was 100 and is 200$"):
        RunDirectory.create(tmp_path, spec(steps=200, priority=99), resume=True)
    assert run.record().attempt == 1


def test_a_task_is_resumed_with_any_number_of_workers(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, spec())
    other = spec().model_copy(update={"workers": WorkersSpec(min=1, max=4)})
    assert other.workers != run.spec().workers
    assert RunDirectory.create(tmp_path, other, resume=True).record().attempt == 2


def test_a_task_is_resumed_with_fewer_checkpoints_kept_where_the_disk_is_full(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, spec())
    kept = {"keep_last": 1, "keep_every": 700, "snapshot_every": 5}
    less = spec().model_copy(update={"checkpoint": spec().checkpoint.model_copy(update=kept)})
    assert RunDirectory.create(tmp_path, less, resume=True).record().attempt == 2
    other = spec().model_copy(update={"checkpoint": spec().checkpoint.model_copy(update={"every": 7})})
    with pytest.raises(RunExists, match=r"another spec: checkpoint\.every was 100 and is 7$"):
        RunDirectory.create(tmp_path, other, resume=True)
    assert run.record().attempt == 2


def test_resuming_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match="no run 'brave-otter'"):
        RunDirectory.create(tmp_path, spec(), resume=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "brave-otter").mkdir()
    (tmp_path / "brave-otter" / "thesis.txt").touch()
    with pytest.raises(RunExists):
        RunDirectory.create(tmp_path, spec())
    assert [path.name for path in (tmp_path / "brave-otter").iterdir()] == ["thesis.txt"]


def test_a_storage_that_cannot_be_written_is_one_sentence_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot create .*/file/brave-otter: Not a directory") as caught:
        RunDirectory.create(tmp_path / "file", spec())
    assert "checkpoint.storage" in caught.value.hint


def test_a_run_is_found_by_path_name_and_unique_prefix(tmp_path: Path) -> None:
    for name in ("brave-otter", "brave", "calm-owl"):
        RunDirectory.create(tmp_path, spec(name))
    assert RunDirectory.open(tmp_path / "brave-otter").name == "brave-otter"
    assert RunDirectory.open(str(tmp_path / "calm-owl"), tmp_path).name == "calm-owl"
    assert RunDirectory.open("brave", tmp_path).name == "brave"
    assert RunDirectory.open("cal", tmp_path).name == "calm-owl"
    with pytest.raises(RunNotFound, match="'bra' could be any of brave, brave-otter"):
        RunDirectory.open("bra", tmp_path)


def test_a_run_that_is_not_there_is_one_sentence_with_a_guess(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, spec())
    with pytest.raises(RunNotFound, match="no run 'brave-oter' in") as caught:
        RunDirectory.open("brave-oter", tmp_path)
    assert caught.value.hint == "did you mean 'brave-otter'?"
    with pytest.raises(RunNotFound, match="no run 'x' in") as caught:
        RunDirectory.open("x", tmp_path / "nowhere")
    assert caught.value.hint == "`tumbler ls` lists those that there are"
    with pytest.raises(RunNotFound, match="runs/x is not a run directory"):
        RunDirectory.open("runs/x", tmp_path)
    with pytest.raises(RunNotFound, match="is not a run directory"):
        RunDirectory.open(tmp_path)


def test_a_directory_of_a_later_format_is_refused(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, spec())
    record = run.record().model_copy(update={"format": 2})
    (run.path / "run.json").write_text(record.model_dump_json())
    with pytest.raises(StorageError, match="format 2 and this version reads up to 1"):
        RunDirectory.open(run.path)


def test_a_status_survives_its_round_trip_even_with_a_loss_that_is_no_number(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, spec())
    run.write_status(running(run))
    assert run.read_status() == running(run)
    run.write_status(running(run).model_copy(update={"metrics": {"loss": math.nan, "norm": math.inf}}))
    metrics = run.read_status().metrics
    assert math.isnan(metrics["loss"])
    assert metrics["norm"] == math.inf
    assert "NaN" not in run.status_path.read_text().replace('"NaN"', "")
    assert sorted(path.name for path in run.path.iterdir() if path.name.startswith(".")) == []


def test_a_zombie_of_an_older_attempt_cannot_write_the_status(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, spec())
    RunDirectory.create(tmp_path, spec(), resume=True)
    with pytest.raises(StorageError, match="attempt 1 of run brave-otter was superseded by attempt 2"):
        run.write_status(running(run, attempt=1))
    run.write_status(running(run, attempt=2, step=8))
    assert run.read_status().step == 8


@pytest.mark.parametrize("name", ["status.json", "spec.json", "run.json"])
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    run = RunDirectory.create(tmp_path, spec())
    (run.path / name).write_text('{"run": ')
    readers = {"status.json": run.read_status, "spec.json": run.spec, "run.json": run.record}
    with pytest.raises(StorageError, match=f"{name} is broken"):
        readers[name]()


@pytest.mark.parametrize(
    ("uri", "path"),
    [("file://./runs", "runs"), ("file:///data/runs", "/data/runs"), ("runs", "runs"), ("/abs", "/abs")],
)
def test_a_storage_uri_names_a_folder(uri: str, path: str) -> None:
    assert storage_path(uri) == Path(path)


def test_the_home_folder_may_be_written_as_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert storage_path("~/runs") == storage_path("file://~/runs") == Path("/home/ada/runs")


@pytest.mark.parametrize("uri", ["s3://bucket/runs", "file://"])
def test_a_storage_of_another_scheme_is_refused(uri: str) -> None:
    with pytest.raises(SpecError, match="expected a folder"):
        storage_path(uri)
