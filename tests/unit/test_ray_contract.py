"""What Tumbler expects of Ray Train's internals, hook by hook.

They are private: where another Ray keeps one differently, the test that fails says which file must follow.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import ray
from ray.train import ControllerError, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.context import TrainContext
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import PlacementGroup, placement_group

from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.domain.status import EndReason
from trainers.ray_train import internals as ours
from trainers.ray_train.controller import AttemptFailed, ElasticTrainController, TargetScalingPolicy
from trainers.ray_train.trainer import ElasticConfig, ElasticTorchTrainer
from trainers.ray_train.worker import ElasticWorker
from trainers.ray_train.worker_group import ElasticWorkerGroup

CONTROLLER, ATTENDANCE, WORKER_GROUP, WORKER, TRAINER, POLICY = (
    "trainers/ray_train/controller.py",
    "trainers/ray_train/attendance.py",
    "trainers/ray_train/worker_group.py",
    "trainers/ray_train/worker.py",
    "trainers/ray_train/trainer.py",
    "trainers/ray_train/controller.py (TargetScalingPolicy)",
)


def changed(what: str, where: str) -> str:
    return f"Ray {ray.__version__} changed {what}, which {where} builds on"


def parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def code_of(function: Callable[..., Any]) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def own_attributes(function: Callable[..., Any]) -> set[str]:
    """The names x of all `self.x = ...` in a function."""
    stores = (node for node in ast.walk(code_of(function)) if isinstance(node, ast.Attribute))
    return {
        node.attr
        for node in stores
        if isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }


def called(function: Callable[..., Any]) -> dict[str, set[str]]:
    """Name of every method that a function calls -> the keywords it passes."""
    calls = (node for node in ast.walk(code_of(function)) if isinstance(node, ast.Call))
    return {
        call.func.attr: {keyword.arg or "**" for keyword in call.keywords}
        for call in calls
        if isinstance(call.func, ast.Attribute)
    }


@pytest.mark.parametrize(
    ("owner", "method", "expected", "where"),
    [
        (ours.TrainController, "_step", [], CONTROLLER),
        (ours.TrainController, "_start_worker_group", ["num_workers", "resources_per_worker"], CONTROLLER),
        (ours.TrainController, "_execute_resize_decision", ["decision"], CONTROLLER),
        (ours.TrainController, "_get_run_attempt_id", [], CONTROLLER),
        (ours.TrainController, "get_state", [], CONTROLLER),
        (ours.TrainController, "run", [], CONTROLLER),
        (ours.TrainController, "get_training_failed_error", [], CONTROLLER),
        (ours.TrainController, "get_result", [], ATTENDANCE),
        (ours.ObjectRefWrapper, "__init__", ["obj"], CONTROLLER),
        (ours.ObjectRefWrapper, "get", [], CONTROLLER),
        (CheckpointManager, "register_checkpoint", ["training_report"], CONTROLLER),
        (ours.TrainingReport, "__init__", ["checkpoint", "metrics", "validation"], "reports.py"),
        (
            ours.WorkerGroup,
            "create",
            ["train_run_context", "worker_group_context", "callbacks"],
            WORKER_GROUP,
        ),
        (ours.WorkerGroup, "_start", [], WORKER_GROUP),
        (ours.WorkerGroup, "_clear_state", [], WORKER_GROUP),
        (ours.WorkerGroup, "shutdown", [], WORKER_GROUP),
        (ours.WorkerGroup, "abort", [], WORKER_GROUP),
        (ours.WorkerGroup, "_get_worker_runtime_env", ["custom_runtime_env"], WORKER_GROUP),
        (ours.RayTrainWorker, "__init__", [], WORKER),
        (ours.RayTrainWorker, "run_train_fn", ["train_fn_ref"], WORKER),
        (ours.RayTrainWorker, "get_metadata", [], "bring_up.py"),
        (ours.ScalingPolicy, "__init__", ["scaling_config"], POLICY),
        (ours.ScalingPolicy, "after_controller_start", ["train_run_context"], POLICY),
        (ours.UserCallbackHandler, "__init__", ["user_callbacks", "train_run_context"], TRAINER),
        (TorchTrainer, "_create_default_callbacks", [], TRAINER),
        (TorchTrainer, "_initialize_and_run_controller", ["controller_init_kwargs"], TRAINER),
        (ours, "bundle_to_remote_args", ["bundle"], "bring_up.py"),
        (ours, "get_env_vars_to_propagate", [], TRAINER),
        (ours, "get_train_context", [], WORKER),
    ],
)
def test_a_method_is_there_and_takes_what_we_think(
    owner: Any, method: str, expected: list[str], where: str
) -> None:
    name = f"{owner.__name__}.{method}({', '.join(expected)})"
    assert hasattr(owner, method), changed(name, where)
    assert parameters(getattr(owner, method)) == expected, changed(name, where)


@pytest.mark.parametrize(
    ("caller", "method", "keywords", "where"),
    [
        ("TrainController._run_control_loop_iteration", "_step", set(), CONTROLLER),
        (
            "TrainController._execute_resize_decision",
            "_start_worker_group",
            {"num_workers", "resources_per_worker"},
            CONTROLLER,
        ),
        (
            "TrainController._start_worker_group",
            "create",
            {"train_run_context", "worker_group_context", "callbacks"},
            WORKER_GROUP,
        ),
        ("WorkerGroup.create", "_start", set(), WORKER_GROUP),
        ("TrainController._shutdown_worker_group", "shutdown", set(), WORKER_GROUP),
        (
            "TrainController._make_and_handle_scaling_decision_for_non_running_worker_group",
            "make_decision_for_non_running_worker_group",
            set(),
            POLICY,
        ),
    ],
)
def test_ray_calls_the_hook_that_we_override(
    caller: str, method: str, keywords: set[str], where: str
) -> None:
    owner, _, name = caller.partition(".")
    calls = called(getattr(getattr(ours, owner), name))
    assert method in calls, changed(f"{caller}: it no longer calls {method}", where)
    assert calls[method] == keywords, changed(f"what {caller} passes to {method}", where)


@pytest.mark.parametrize(
    ("owner", "attributes", "where"),
    [
        (
            ours.TrainController,
            {"_checkpoint_manager", "_storage_context", "_worker_group", "_return_value", "_state"},
            CONTROLLER,
        ),
        (
            ours.WorkerGroup,
            {
                "_train_run_context",
                "_storage_context",
                "_worker_group_context",
                "_worker_callbacks_to_propagate",
            },
            WORKER_GROUP,
        ),
        (ours.ScalingPolicy, {"scaling_config"}, POLICY),
        (DataParallelTrainer, {"scaling_config", "train_run_context"}, TRAINER),
    ],
)
def test_an_object_holds_what_we_read_from_it(owner: type, attributes: set[str], where: str) -> None:
    missing = attributes - own_attributes(owner.__init__)
    assert not missing, changed(f"{owner.__name__}: it holds no {', '.join(sorted(missing))}", where)


def test_the_classes_that_ray_creates_are_ours() -> None:
    where = "ElasticTrainController.worker_group_cls"
    assert ours.TrainController.worker_group_cls is ours.WorkerGroup, changed("worker_group_cls", where)
    assert ElasticTrainController.worker_group_cls is ElasticWorkerGroup
    assert ours.WorkerGroup._worker_cls is ours.RayTrainWorker, changed("_worker_cls", WORKER_GROUP)
    assert ElasticWorkerGroup._worker_cls is ElasticWorker
    assert ElasticConfig().backend_cls.has_replica_groups is False, changed("Backend", TRAINER)


def test_a_worker_is_told_its_context_in_the_words_we_use() -> None:
    told = inspect.signature(ours.RayTrainWorker.init_train_context).parameters
    ours_tell = {
        "train_run_context",
        "storage_context",
        "worker_callbacks",
        "distributed_context",
        "synchronization_actor",
        "controller_actor",
    }
    needed = {name for name, p in told.items() if p.default is p.empty and name != "self"}
    assert needed == ours_tell, changed("RayTrainWorker.init_train_context", "bring_up.py")


def test_the_controller_is_started_with_the_words_we_pass_on() -> None:
    passed = called(DataParallelTrainer.fit)["_initialize_and_run_controller"]
    assert passed == {
        "train_fn_ref",
        "scaling_policy",
        "failure_policy",
        "train_run_context",
        "callbacks",
        "validation_config",
    }, changed("DataParallelTrainer.fit", TRAINER)
    assert passed == set(parameters(ours.TrainController.__init__)), changed("TrainController", CONTROLLER)
    assert (
        ElasticTorchTrainer._initialize_and_run_controller is not TorchTrainer._initialize_and_run_controller
    )


def test_the_scaling_policy_decides_all_that_ray_asks_it() -> None:
    assert ours.ScalingPolicy.__abstractmethods__ == {
        "make_decision_for_non_running_worker_group",
        "make_decision_for_running_worker_group",
        "_get_num_workers_for_resource_request",
    }, changed("ScalingPolicy", POLICY)
    config = ScalingConfig(num_workers=(1, 4), resources_per_worker={"CPU": 2.0})
    policy = TargetScalingPolicy(config)
    decision = policy.make_decision_for_non_running_worker_group()
    assert decision == ours.ResizeDecision(4, {"CPU": 2.0}), changed("ScalingConfig", POLICY)
    assert policy.make_decision_for_running_worker_group(None, None) == ours.NoopDecision()
    assert policy._get_num_workers_for_resource_request() == 4


@pytest.mark.parametrize(
    ("values", "fields", "where"),
    [
        (ours.ActorMetadata, {"hostname", "node_id", "pid"}, "bring_up.py"),
        (
            ours.DistributedContext,
            {"world_rank", "world_size", "local_rank", "local_world_size", "node_rank"},
            WORKER,
        ),
        (
            ours.WorkerGroupContext,
            {"train_fn_ref", "num_workers", "resources_per_worker", "placement_strategy"},
            WORKER_GROUP,
        ),
        (ours.TrainRunContext, {"run_config", "train_loop_config"}, CONTROLLER),
        (
            ours.TrainControllerLoopIterationResult,
            {"run_attempt_id", "previous_state", "next_state"},
            CONTROLLER,
        ),
        (TrainContext, {"controller_actor", "distributed_context"}, WORKER),
    ],
)
def test_a_value_has_the_fields_we_use(values: Any, fields: set[str], where: str) -> None:
    missing = fields - set(values.__dataclass_fields__)
    assert not missing, changed(f"{values.__name__}: it has no {', '.join(sorted(missing))}", where)


def test_a_train_context_can_carry_our_link() -> None:
    frozen = TrainContext.__dataclass_params__.frozen or "__slots__" in vars(TrainContext)
    assert not frozen, changed("TrainContext: it cannot be extended", WORKER)


def test_the_states_we_end_in_are_made_as_we_make_them() -> None:
    error = AttemptFailed(EndReason.NO_PROGRESS, "3 losses")
    errored = ours.ShuttingDownState(next_state=ours.ErroredState(training_failed_error=error))
    assert errored.next_state.training_failed_error is error
    assert ours.ErroredState(training_failed_error=error).is_terminal()
    assert ours.ShuttingDownState(next_state=ours.FinishedState()).next_state.is_terminal()
    assert not ours.RunningState().is_terminal()


def test_waiting_for_a_placement_group_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = object()
    module = PlacementGroup.ready.__globals__
    monkeypatch.setitem(module, "_call_placement_group_ready_async", lambda group: reference)
    group = PlacementGroup(ray.PlacementGroupID.from_random(), bundle_cache=[{"CPU": 1.0}])
    assert group.ready() is reference, changed("PlacementGroup.ready: it waits", "slots.py")
    said = str(inspect.signature(PlacementGroup.ready).return_annotation)
    assert said.endswith("ObjectRef"), changed("PlacementGroup.ready: it returns no ObjectRef", "slots.py")


def test_places_are_asked_for_in_the_words_we_use() -> None:
    lacking = {"bundles", "strategy", "name", "bundle_label_selector"} - set(parameters(placement_group))
    assert not lacking, changed("placement_group", "slots.py")
    assert isinstance(ray._raylet.RAY_NODE_ID_KEY, str), changed("RAY_NODE_ID_KEY", TRAINER)


def test_an_error_of_the_controller_keeps_its_cause() -> None:
    cause = ClusterUnavailable("gone")
    assert ControllerError(cause).controller_failure is cause, changed("ControllerError", TRAINER)
