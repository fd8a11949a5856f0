"""How long the process that holds snapshots stays when its worker is gone."""

import time
from pathlib import Path

import pytest

from tests.unit.snapshot_workers import Worker, processes, until
from trainers.checkpoints.held import Holding, held_in


@pytest.mark.slow
def test_who_says_farewell_leaves_nothing_behind(holding: Holding) -> None:
    worker = Worker(holding)
    worker.snapshot(2)
    (process,) = processes(holding)
    worker.saver.close()
    until(lambda: not Path("/proc", str(process)).exists())
    assert not holding.folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("status", ["SUCCEEDED", "PAUSED", None])
def test_when_the_run_is_over_nobody_stays(holding: Holding, status: str | None) -> None:
    worker = Worker(holding)
    worker.snapshot(2)
    worker.lose()
    (process,) = processes(holding)
    time.sleep(0.7)
    assert Path("/proc", str(process)).exists()
    path = holding.run_folder / "status.json"
    if status is None:
        path.write_text("{")
    else:
        path.write_text(path.read_text().replace("RUNNING", status))
    until(lambda: not Path("/proc", str(process)).exists())


@pytest.mark.slow
def test_who_resumes_a_run_that_lost_its_controller_finds_them(holding: Holding) -> None:
    """As `tumbler run --resume` does: without a service such a run has failed."""
    worker = Worker(holding)
    worker.snapshot(2)
    path = holding.run_folder / "status.json"
    path.write_text(path.read_text().replace('"RUNNING"', '"FAILED", "reason": "ControllerLost"'))
    (process,) = processes(holding)
    worker.lose()
    time.sleep(3.0)
    assert Path("/proc", str(process)).exists()
    path.write_text(path.read_text().replace("ControllerLost", "NotFinite"))
    until(lambda: not Path("/proc", str(process)).exists())


@pytest.mark.slow
def test_a_lost_workers_process_ends_when_newer_ones_are_held(holding: Holding) -> None:
    lost, other = Worker(holding), Worker(holding, generation=2)
    lost.snapshot(2)
    (process,) = processes(holding)
    lost.lose()
    other.snapshot(3, 5)
    until(lambda: not Path("/proc", str(process)).exists())
    assert {held.step for held in held_in(holding.folder)} == {3, 5}
    other.saver.close()
