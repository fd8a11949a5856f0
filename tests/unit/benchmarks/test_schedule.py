"""The benchmark of the scheduler, on a small scale."""

import json

import pytest

from benchmarks import schedule


def test_it_measures_the_decision_and_the_round_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "QUICK", schedule.Scale(num_queued=60, num_running=10, num_rounds=2))
    report = schedule.run(quick=True)
    assert report.results["queued"] == 60
    assert report.results["started in the roomy cluster"] > 0
    assert report.results["preempted for a gang of 64"] > 0
    assert {bar.unit for bar in report.bars} == {"ms"}
    assert json.loads(report.to_json())["name"] == "schedule"
