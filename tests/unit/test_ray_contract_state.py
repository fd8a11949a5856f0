"""What Tumbler expects of Ray Train's state tracking, behind its Train tab; see `test_ray_contract.py`."""

from typing import Any

import pytest
from ray.train.v2._internal.callbacks.state_manager import StateManagerCallback
from ray.train.v2.api.config import ScalingConfig

from tests.unit.test_ray_contract import called, changed, own_attributes, parameters
from trainers.ray_train import internals as ours

TAB, BOOK = "trainers/ray_train/train_tab.py", "trainers/ray_train/train_book.py"
SCHEMA = ours.train_schema


@pytest.mark.parametrize(
    ("method", "expected"),
    [("create_or_update_train_run", ["run"]), ("create_or_update_train_run_attempt", ["run_attempt"])],
)
def test_the_state_actor_takes_what_we_tell_it(method: str, expected: list[str]) -> None:
    assert parameters(getattr(ours.TrainStateActor, method)) == expected, changed(method, TAB)


def test_the_state_actor_holds_what_we_have_it_drop() -> None:
    held = {"_runs", "_run_attempts", "_runs_lock", "_run_attempts_lock"}
    missing = held - own_attributes(ours.TrainStateActor.__init__)
    assert not missing, changed(f"TrainStateActor: it holds no {', '.join(sorted(missing))}", TAB)
    assert parameters(ours.get_or_create_state_actor) == [], changed("get_or_create_state_actor", TAB)


def test_a_run_is_described_in_the_words_that_ray_itself_uses() -> None:
    told = called(StateManagerCallback.after_controller_start)["create_train_run"]
    assert told == set(parameters(ours.TrainStateManager.create_train_run)), changed("create_train_run", TAB)
    assert told == {
        "id",
        "name",
        "job_id",
        "controller_actor_id",
        "controller_log_file_path",
        "run_config",
        "train_loop_config",
        "scaling_config",
        "backend_config",
        "datasets",
        "dataset_config",
    }, changed("TrainStateManager.create_train_run", TAB)
    assert "_create_or_update_train_run" in called(ours.TrainStateManager.create_train_run), changed(
        "TrainStateManager.create_train_run", TAB
    )
    assert hasattr(ScalingConfig, "_resources_per_worker_not_none"), changed("ScalingConfig", TAB)


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        (SCHEMA.TrainRun, {"id", "name", "status", "status_detail", "start_time_ns", "end_time_ns"}),
        (
            SCHEMA.TrainRunAttempt,
            {
                *("run_id", "attempt_id", "status", "status_detail"),
                *("start_time_ns", "end_time_ns", "resources", "workers"),
            },
        ),
        (
            SCHEMA.TrainWorker,
            {
                *("world_rank", "local_rank", "node_rank", "actor_id", "node_id", "node_ip", "pid"),
                *("gpu_ids", "status", "resources", "log_file_path"),
            },
        ),
    ],
)
def test_a_record_has_the_fields_we_fill_and_no_others_that_must_be(values: Any, fields: set[str]) -> None:
    missing = fields - set(values.model_fields)
    assert not missing, changed(f"{values.__name__}: it has no {', '.join(sorted(missing))}", BOOK)
    needed = {name for name, field in values.model_fields.items() if field.is_required()}
    assert values is SCHEMA.TrainRun or needed <= fields, changed(values.__name__, BOOK)


def test_the_statuses_are_those_we_use() -> None:
    over = {"FINISHED", "ERRORED", "ABORTED"}
    assert {each.value for each in SCHEMA.RunStatus if each.is_terminal()} == over, changed("RunStatus", BOOK)
    assert {each.value for each in SCHEMA.RunAttemptStatus if each.is_terminal()} == over, changed(
        "RunAttemptStatus", BOOK
    )
    assert {"RUNNING", "RESTARTING"} < {each.value for each in SCHEMA.RunStatus}, changed("RunStatus", BOOK)
    assert {each.value for each in SCHEMA.ActorStatus} == {"ALIVE", "DEAD"}, changed("ActorStatus", BOOK)


def test_it_is_on_unless_rays_own_variable_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ours.RAY_TRAIN_ENABLE_STATE_TRACKING == "RAY_TRAIN_ENABLE_STATE_TRACKING"
    monkeypatch.delenv("RAY_TRAIN_ENABLE_STATE_TRACKING", raising=False)
    assert ours.train_tab_wanted()
    for value, wanted in (("1", True), ("0", False), ("false", False), ("true", True)):
        monkeypatch.setenv("RAY_TRAIN_ENABLE_STATE_TRACKING", value)
        assert ours.train_tab_wanted() is wanted
