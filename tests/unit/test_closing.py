from pathlib import Path

import pytest

from orchestrator.domain.errors import ClusterUnavailable, DataError, Problem, SpecError, StorageError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.test_recorder import open_recorder, points
from trainers.closing import close_record, reason_for, sentence_for


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.begin(tmp_path, RunSpec.parse({"name": "otter", "task": "language_model"}), 1)


def test_an_attempt_whose_controller_died_ends_at_the_newest_step_of_the_ledger(run: RunDirectory) -> None:
    recorder = open_recorder(run)
    recorder.move(RunStatus.RUNNING, workers=2)
    recorder.steps(points(1, 2, 3))
    assert run.read_status().step < 3  # the status is behind
    close_record(run, 1, EndReason.CONTROLLER_LOST, "gone")
    state = run.read_status()
    assert (state.status, state.reason, state.message) == ("QUEUED", "ControllerLost", "gone")
    assert (state.step, state.workers, state.ended) == (3, 0, None)
    assert state.tips["ledger"].seq == 4  # the plan and three steps: what comes later was added


def test_one_that_is_over_already_says_more(run: RunDirectory) -> None:
    recorder = open_recorder(run)
    recorder.end(EndReason.USER_PAUSED)
    close_record(run, 1, EndReason.CONTROLLER_LOST, "gone")
    assert run.read_status().reason == "UserPaused"


def test_one_that_is_not_the_newest_changes_nothing(run: RunDirectory, tmp_path: Path) -> None:
    RunDirectory.begin(tmp_path, run.spec(), 2)
    close_record(run, 1, EndReason.CONTROLLER_LOST, "gone")
    state = run.read_status()
    assert (state.attempt, state.status, state.reason) == (2, "QUEUED", None)


@pytest.mark.parametrize(
    ("on_the_way", "reason"),
    [(RunStatus.PAUSING, EndReason.USER_PAUSED), (RunStatus.CANCELLING, EndReason.USER_CANCELLED)],
)
def test_who_died_in_the_last_breath_of_a_stop_has_stopped(
    run: RunDirectory, on_the_way: RunStatus, reason: EndReason
) -> None:
    open_recorder(run).move(on_the_way)
    close_record(run, 1, EndReason.CONTROLLER_LOST, "gone")
    assert run.read_status().reason == reason


def test_without_a_service_what_follows_is_said_by_the_caller(run: RunDirectory) -> None:
    close_record(run, 1, EndReason.CONTROLLER_LOST, "gone", status=RunStatus.FAILED)
    state = run.read_status()
    assert state.status is RunStatus.FAILED
    assert state.ended is not None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyboardInterrupt(), EndReason.USER_CANCELLED),
        (SystemExit(), EndReason.USER_CANCELLED),
        (SpecError([Problem("name", "no")]), EndReason.SPEC_REFUSED),
        (DataError("no rows"), EndReason.SPEC_REFUSED),
        (StorageError("no disk"), EndReason.STORAGE_FAILED),
        (ClusterUnavailable("no Ray"), EndReason.CONTROLLER_LOST),
        (ZeroDivisionError(), EndReason.CONTROLLER_LOST),
    ],
)
def test_an_error_says_why_the_attempt_ended(error: BaseException, reason: EndReason) -> None:
    assert reason_for(error) is reason
    assert sentence_for(error)
