"""The process that tells trackers, as a controller starts it; MLflow and W&B where they are."""

import importlib.util
import json
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.recorded_run import RecordedRun, finished_run
from tests.unit.test_tracking import shown
from trainers.elastic.job import WorkerJob, run_environment
from trainers.tracking.process import tell_all
from trainers.tracking.starting import start_tracking
from trainers.tracking.tracker import tracker_id

HAS_MLFLOW = importlib.util.find_spec("mlflow") is not None
_BLOCK = 32768
HAS_WANDB = importlib.util.find_spec("wandb") is not None


def job_of(run: RunDirectory, attempt: int = 1) -> WorkerJob:
    return WorkerJob(run.spec(), run.path, run.path.parent, attempt)


def eventually(look: Callable[[], bool], patience_s: float = 50.0) -> None:
    until_s = time.monotonic() + patience_s
    while not look():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.05)


@pytest.mark.slow
def test_the_process_follows_a_run_through_its_attempts_and_ends(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path, log={"tensorboard": True})
    run = recorded.run
    start_tracking(job_of(run), lambda told: None)
    recorded.started(w1=1)
    recorded.formed(1, "w1")
    recorded.steps(1, 3, workers=1)
    curve = run.path / "tensorboard"
    eventually(lambda: [step for step, _ in shown(curve, "train/loss")] == [1, 2, 3])
    recorded.ended(RunStatus.FAILED, EndReason.NO_PROGRESS)
    finished = finished_run(tmp_path / "other", log={"tensorboard": True})
    start_tracking(job_of(finished), lambda told: None)
    other = finished.path / "tensorboard"
    eventually(lambda: [step for step, _ in shown(other, "train/loss")] == list(range(1, 9)))


def test_a_run_that_asks_for_none_starts_no_process(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    start_tracking(job_of(run), lambda told: None)
    assert not (run.path / "tracking").exists()


@pytest.mark.timeout(200)  # where MLflow is installed, its import alone may take most of it on a busy machine
def test_a_tracker_that_cannot_be_reached_becomes_an_event(tmp_path: Path) -> None:
    run = finished_run(tmp_path, log={"mlflow": {"tracking_uri": "nonsense://nowhere"}})
    said: list[dict[str, Any]] = []
    start_tracking(job_of(run), said.append)
    eventually(lambda: bool(said), patience_s=170.0)
    assert (said[0]["kind"], said[0]["tracker"]) == ("tracker-failed", "mlflow")
    assert "training does not notice" in said[0]["message"]
    RunDirectory.create(tmp_path, run.spec(), resume=True)  # which ends the process: the rest is not its own


def test_user_code_is_told_of_the_same_runs(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    told = run_environment(job_of(run))
    assert (told["WANDB_RUN_ID"], told["WANDB_RESUME"]) == (tracker_id(run), "allow")
    assert "MLFLOW_RUN_ID" not in told, "MLflow refuses a run that it does not know"
    (run.path / "tracking").mkdir()
    (run.path / "tracking" / "mlflow.json").write_text('{"seq": 3, "id": "abc"}')
    assert run_environment(job_of(run, 2))["MLFLOW_RUN_ID"] == "abc"


@pytest.mark.timeout(200)
@pytest.mark.skipif(not HAS_MLFLOW, reason="mlflow is not installed")
@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_mlflow_has_one_run_however_often_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"sqlite:///{tmp_path}/ml.db" if kind == "sqlite" else (tmp_path / "ml").as_uri()
    if kind == "sqlite" and importlib.util.find_spec("mlflow.store.db") is None:
        pytest.skip("this MLflow has no database")
    log = {"mlflow": {"tracking_uri": uri, "experiment": "nlp"}}
    run = finished_run(tmp_path, log=log)
    said: list[Any] = []
    for _ in range(3):
        tell_all(run, 1, threading.Event(), said.append)
    (run.path / "tracking" / "mlflow.json").unlink()  # what is told again changes nothing
    assert said == []
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("nlp")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert sorted((one.step, one.value) for one in history) == [(s, 5 - s / 2) for s in range(1, 9)]
    assert found.info.status == "FINISHED"
    assert found.data.params["train.steps"] == "8"
    assert found.data.tags["tumbler.run"] == tracker_id(run)


@pytest.mark.timeout(200)
@pytest.mark.skipif(not HAS_WANDB, reason="wandb is not installed")
def test_wandb_has_one_run_however_often_it_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    run = finished_run(tmp_path, log={"wandb": {"project": "nlp", "mode": "offline"}})
    said: list[Any] = []
    tell_all(run, 1, threading.Event(), said.append)
    tell_all(run, 1, threading.Event(), said.append)
    assert said == []
    folders = sorted((run.path / "tracking" / "wandb").glob("offline-run-*"))
    assert {folder.name.split("-", 3)[-1] for folder in folders} == {tracker_id(run)}
    logs = [content for folder in folders for content in _history(folder)]
    assert [(row["step"], row["train/loss"]) for row in logs if "train/loss" in row] == [
        (step, 5 - step / 2) for step in range(1, 9)
    ]


def _history(folder: Path) -> list[dict[str, Any]]:
    """What was logged, from W&B's own file: records in the format of LevelDB's logs."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    content, at, rows, whole = path.read_bytes(), 7, [], b""
    while at + 7 <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # all of it, or its last part
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            items = record.history.item
            rows.append({(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in items})
    return rows
