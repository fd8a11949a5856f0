"""`tumbler goodput`, on run directories and over the service."""

import json
from pathlib import Path

import pytest

from api.cli.main import main
from orchestrator.domain.goodput import QueueGoodput, cluster_goodput, goodput
from orchestrator.domain.goodput_history import Bucket
from tests.unit.fake_rest import FakeRest, run_json
from tests.unit.recorded_run import RecordedRun, finished_run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUMBLER_HOME", str(tmp_path / "home"))


def test_the_buckets_of_a_run_directory_are_shown_and_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(Path("runs"))
    assert main(["goodput", "brave-otter"]) == 0
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0] == ["BUCKET", "WORKER-S", "SHARE"]
    assert [row[0] for row in rows[1:]] == [*Bucket, "granted"]
    assert sum(float(row[1]) for row in rows[1:-1]) == pytest.approx(float(rows[-1][1]), abs=0.01)
    assert "8 steps, 0 repeated" in said.err
    assert main(["goodput", str(run.path), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == goodput(run).model_dump(mode="json")


def test_a_run_without_a_worker_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    RecordedRun(Path("runs"))
    assert main(["goodput", "brave-otter"]) == 0
    assert capsys.readouterr().err == "no worker of run 'brave-otter' has a place on record\n"


def test_the_service_is_asked_for_a_run_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = goodput(finished_run(Path("elsewhere")))
    rest = FakeRest().has(run_json())
    rest.on("GET", "/runs/brave-otter/goodput", report.model_dump(mode="json"))
    monkeypatch.setattr("api.cli.places.find_service", rest.client)
    assert main(["goodput", "brave-otter", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == report.model_dump(mode="json")


def test_without_a_run_it_is_about_all_queues(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = goodput(finished_run(Path("elsewhere")))
    found = cluster_goodput([("nlp", report), ("default", report)], ["calm-owl"])
    assert all(isinstance(queue, QueueGoodput) for queue in found.queues)
    rest = FakeRest().on("GET", "/cluster/goodput", found.model_dump(mode="json"))
    monkeypatch.setattr("api.cli.places.find_service", rest.client)
    assert main(["goodput"]) == 0
    said = capsys.readouterr()
    assert [line.split()[:2] for line in said.out.splitlines()] == [
        ["QUEUE", "RUNS"],
        ["default", "1"],
        ["nlp", "1"],
        ["all", "2"],
    ]
    assert said.err == "the records of run 'calm-owl' cannot be read, it is left out\n"
    assert main(["goodput", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 2
