"""Every name of Ray Train's internals that Tumbler builds on, imported in one place.

They are private, so the supported Ray is pinned; `tests/unit/test_ray_contract.py` names each hook that is
used and what is expected of it, and fails with a clear message where another Ray keeps it differently.
"""

from typing import Final

import ray
from ray._private.ray_constants import env_bool
from ray.train.constants import RAY_TRAIN_ENABLE_STATE_TRACKING
from ray.train.v2._internal.callbacks.metrics import ControllerMetricsCallback
from ray.train.v2._internal.callbacks.user_callback import UserCallbackHandler
from ray.train.v2._internal.constants import (
    CHECKPOINT_MANAGER_SNAPSHOT_FILENAME,
    get_env_vars_to_propagate,
)
from ray.train.v2._internal.execution.context import DistributedContext, TrainRunContext, get_train_context
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.controller.controller import TrainControllerLoopIterationResult
from ray.train.v2._internal.execution.controller.state import (
    ErroredState,
    FinishedState,
    RunningState,
    ShuttingDownState,
    TrainControllerState,
)
from ray.train.v2._internal.execution.scaling_policy import (
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
    ScalingPolicy,
)
from ray.train.v2._internal.execution.training_report import _TrainingReport as TrainingReport
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2._internal.execution.worker_group.state import WorkerGroupContext
from ray.train.v2._internal.execution.worker_group.worker import ActorMetadata, RayTrainWorker
from ray.train.v2._internal.logging.logging import get_train_application_controller_log_path
from ray.train.v2._internal.state import schema as train_schema
from ray.train.v2._internal.state.state_actor import TrainStateActor, get_or_create_state_actor
from ray.train.v2._internal.state.state_manager import TrainStateManager
from ray.train.v2._internal.util import ObjectRefWrapper, bundle_to_remote_args

from orchestrator.domain.errors import ClusterUnavailable

NODE_ID_LABEL: Final = str(ray._raylet.RAY_NODE_ID_KEY)
"""Every node carries its own id under this label."""

SUPPORTED_RAY: Final = "2.60"


def draining_nodes() -> dict[str, int]:
    """Id of each node that Ray was told will be gone -> when, in milliseconds since 1970; 0 for nobody knows.

    Blocks for a question to the GCS.
    """
    return dict(ray._private.state.state.get_draining_nodes())


def has_dashboard() -> bool:
    """Whether this Ray has one. Blocks for a question to the GCS."""
    return bool(ray._private.services.get_webui_url_from_internal_kv())


def train_tab_wanted() -> bool:
    """Ray's own variable, which is off by default there and on here."""
    return bool(env_bool(RAY_TRAIN_ENABLE_STATE_TRACKING, True))


def check_ray_version(version: str = ray.__version__) -> None:
    """Raises ClusterUnavailable, with the fix, for a Ray whose internals are not known here."""
    if version.rsplit(".", 1)[0] != SUPPORTED_RAY:
        raise ClusterUnavailable(
            f"Tumbler builds on Ray {SUPPORTED_RAY} and found Ray {version}",
            hint=f"pip install 'ray[train,data,default]=={SUPPORTED_RAY}.*'",
        )


__all__ = [
    "CHECKPOINT_MANAGER_SNAPSHOT_FILENAME",
    "NODE_ID_LABEL",
    "SUPPORTED_RAY",
    "ActorMetadata",
    "ControllerMetricsCallback",
    "DistributedContext",
    "ErroredState",
    "FinishedState",
    "NoopDecision",
    "ObjectRefWrapper",
    "RayTrainWorker",
    "ResizeDecision",
    "RunningState",
    "ScalingDecision",
    "ScalingPolicy",
    "ShuttingDownState",
    "TrainController",
    "TrainControllerLoopIterationResult",
    "TrainControllerState",
    "TrainRunContext",
    "TrainStateActor",
    "TrainStateManager",
    "TrainingReport",
    "UserCallbackHandler",
    "WorkerGroup",
    "WorkerGroupContext",
    "bundle_to_remote_args",
    "check_ray_version",
    "draining_nodes",
    "get_env_vars_to_propagate",
    "get_or_create_state_actor",
    "get_train_application_controller_log_path",
    "get_train_context",
    "has_dashboard",
    "train_schema",
    "train_tab_wanted",
]
