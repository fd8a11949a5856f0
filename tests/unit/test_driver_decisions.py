"""What a driver of the service decides, without Ray."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.domain.errors import WrongStatus
from orchestrator.domain.orders import Orders
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.test_recorder import open_recorder
from trainers import driver
from trainers.driver import Duty, drive, duty, exit_code, main, ordered_spec
from trainers.elastic.job import WorkerJob

SPEC = RunSpec.parse({"name": "otter", "command": "true", "workers": "1:4", "code": {"env": {"A": "1"}}})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.begin(tmp_path, SPEC, 1)


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was led: jobs that were started, and controllers that were adopted. No Ray, no controller."""
    done: list[Any] = []

    @contextmanager
    def no_ray() -> Iterator[None]:
        yield

    monkeypatch.setattr(driver, "ray_connection", no_ray)
    monkeypatch.setattr(driver, "living_controller", lambda name, attempt: None)
    monkeypatch.setattr(driver, "sweep", lambda name: 0)
    monkeypatch.setattr(driver, "run_attempt", done.append)
    monkeypatch.setattr(driver, "attend", lambda controller, job: done.append(controller))
    context = SimpleNamespace(runtime_env={})
    monkeypatch.setattr(driver.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(driver.signal, "signal", lambda number, handler: None)
    return done


@pytest.mark.parametrize(
    ("status", "reason", "lives", "expected"),
    [
        (RunStatus.QUEUED, None, False, Duty.START),
        (RunStatus.QUEUED, None, True, Duty.ADOPT),
        (RunStatus.RUNNING, None, True, Duty.ADOPT),
        (RunStatus.STARTING, None, False, Duty.CLOSE),
        (RunStatus.RUNNING, None, False, Duty.CLOSE),
        (RunStatus.QUEUED, EndReason.PREEMPTED, False, Duty.NOTHING),
        (RunStatus.PAUSED, EndReason.USER_PAUSED, True, Duty.NOTHING),
        (RunStatus.SUCCEEDED, EndReason.FINISHED, False, Duty.NOTHING),
    ],
)
def test_what_is_to_be_done_follows_from_the_status_and_the_controller(
    run: RunDirectory, status: RunStatus, reason: EndReason | None, lives: bool, expected: Duty
) -> None:
    state = run.read_status().model_copy(update={"status": status, "reason": reason})
    assert duty(state, controller_lives=lives) is expected


def test_the_first_driver_starts_what_was_ordered(run: RunDirectory, led: list[Any]) -> None:
    run.write_orders(Orders(attempt=1, workers_min=2, target=3))
    drive(run, 1, orphan_grace_s=7.0)
    (job,) = led
    assert isinstance(job, WorkerJob)
    assert (job.spec.workers.min, job.spec.workers.max) == (2, 3)
    assert (job.run_folder, job.data_folder, job.attempt) == (run.path, run.path.parent, 1)
    assert job.orphan_grace_s == 7.0
    assert job.detached


def test_a_controller_that_lives_is_adopted(
    run: RunDirectory, led: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_recorder(run)
    monkeypatch.setattr(driver, "living_controller", lambda name, attempt: (name, attempt))
    drive(run, 1)
    assert led == [("otter", 1)]


def test_an_attempt_that_began_and_has_no_controller_is_lost(run: RunDirectory, led: list[Any]) -> None:
    open_recorder(run)
    drive(run, 1)
    assert led == []
    state = run.read_status()
    assert (state.status, state.reason) == ("QUEUED", "ControllerLost")


def test_an_attempt_that_is_over_or_was_superseded_needs_no_ray(run: RunDirectory, tmp_path: Path) -> None:
    open_recorder(run).end(EndReason.USER_CANCELLED)
    assert main([str(run.path), "--attempt", "1", "--driver", "2"]) == 103
    RunDirectory.begin(tmp_path, SPEC, 2)
    with pytest.raises(WrongStatus, match="at attempt 2"):
        drive(run, 1)
    assert main([str(run.path), "--attempt", "1", "--driver", "2"]) == WrongStatus.exit_code
    assert run.read_status().status is RunStatus.QUEUED


def test_what_the_door_refuses_is_the_end_of_the_attempt(tmp_path: Path, led: list[Any]) -> None:
    spec = RunSpec.parse({"name": "otter", "entrypoint": "no_such_module_here:train"})
    run = RunDirectory.begin(tmp_path, spec, 1)
    assert main([str(run.path), "--attempt", "1", "--driver", "1"]) == 3
    state = run.read_status()
    assert (state.status, state.reason) == ("FAILED", "SpecRefused")
    assert "no_such_module_here" in state.message
    assert led == []


@pytest.mark.parametrize("stop", [EndReason.USER_PAUSED, EndReason.USER_CANCELLED, EndReason.PREEMPTED])
def test_a_stop_that_was_ordered_before_anything_began_is_obeyed(
    run: RunDirectory, led: list[Any], stop: EndReason
) -> None:
    run.write_orders(Orders(attempt=1, workers_min=1, target=1, stop=stop))
    main([str(run.path), "--attempt", "1", "--driver", "1"])
    assert run.read_status().reason is stop
    assert led == []


def test_a_controller_that_dies_while_it_is_led_ends_the_attempt(
    run: RunDirectory, led: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(job: WorkerJob) -> None:
        open_recorder(run)
        raise driver.RayActorError

    monkeypatch.setattr(driver, "run_attempt", dies)
    assert main([str(run.path), "--attempt", "1", "--driver", "1"]) == 101
    assert run.read_status().reason is EndReason.CONTROLLER_LOST


def test_a_controller_that_does_not_obey_ends_as_was_wished(
    run: RunDirectory, led: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(job: WorkerJob) -> None:
        run.write_orders(Orders(attempt=1, workers_min=1, target=1, stop=EndReason.USER_PAUSED))
        raise driver.NotObeyed("it does not answer")

    monkeypatch.setattr(driver, "run_attempt", hangs)
    assert main([str(run.path), "--attempt", "1", "--driver", "1"]) == 0
    assert run.read_status().reason is EndReason.USER_PAUSED


def test_the_spec_is_trained_where_the_run_lies_with_the_code_that_was_shipped(tmp_path: Path) -> None:
    made = ordered_spec(SPEC, None, tmp_path / "runs", tmp_path / "code")
    assert made.checkpoint.storage == str(tmp_path / "runs")
    assert made.code.working_dir == str(tmp_path / "code")
    assert made.workers == SPEC.workers
    assert made.result_fingerprint() == SPEC.result_fingerprint()


def test_every_status_has_an_exit_code() -> None:
    codes = {status: exit_code(status) for status in RunStatus}
    assert codes[RunStatus.SUCCEEDED] == codes[RunStatus.PAUSED] == 0
    assert codes[RunStatus.FAILED] == 100
    assert codes[RunStatus.CANCELLED] == 103
    assert codes[RunStatus.QUEUED] == 101
