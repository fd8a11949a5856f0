"""A TorchTrainer whose survivors never restart."""

from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train import BackendConfig, CheckpointConfig, ControllerError, Result, RunConfig, ScalingConfig
from ray.train.backend import Backend
from ray.train.torch import TorchTrainer

from orchestrator.domain.errors import ClusterUnavailable, TumblerError
from orchestrator.domain.ray_names import NAMESPACE, controller_name
from orchestrator.domain.spec import ResourcesSpec
from trainers.elastic.job import WorkerJob
from trainers.ray_train.attendance import attend
from trainers.ray_train.controller import AttemptFailed, ElasticTrainController, TargetScalingPolicy
from trainers.ray_train.internals import (
    ControllerMetricsCallback,
    ObjectRefWrapper,
    UserCallbackHandler,
    check_ray_version,
    get_env_vars_to_propagate,
    train_tab_wanted,
)
from trainers.ray_train.worker import train_loop_per_worker


class ElasticConfig(BackendConfig):  # type: ignore[misc]
    """Takes the place of TorchConfig: the workers form their own groups, generation by generation."""

    backend = "elastic"

    @property
    def backend_cls(self) -> type[Backend]:
        return Backend  # type: ignore[no-any-return]


class ElasticTorchTrainer(TorchTrainer):  # type: ignore[misc]
    """Trains a Task elastically; `fit` is Ray Train's own, and so is the Result."""

    def __init__(self, job: WorkerJob):
        spec = job.spec
        self._job = job
        super().__init__(
            train_loop_per_worker,
            train_loop_config={"job": job},
            torch_config=ElasticConfig(),
            scaling_config=ScalingConfig(
                num_workers=(spec.workers.min, spec.workers.max),
                use_gpu=spec.resources.gpu > 0,
                resources_per_worker=worker_bundle(spec.resources),
            ),
            run_config=RunConfig(
                # Ray's checkpoint manager keeps its books in the folder where the checkpoints lie.
                name="checkpoints",
                storage_path=str(job.run_folder.absolute()),
                checkpoint_config=CheckpointConfig(num_to_keep=None),
            ),
        )

    def _create_default_callbacks(self) -> list[Any]:
        """Without those that assume a group that restarts: backend set-up, working directory, group
        cleaner."""
        return [
            ControllerMetricsCallback(),
            UserCallbackHandler(user_callbacks=[], train_run_context=self.train_run_context),
        ]

    def _initialize_and_run_controller(self, *, train_fn_ref: ObjectRefWrapper, **arguments: Any) -> Result:
        name = self._job.spec.name
        actor_cls = ray.remote(
            num_cpus=0,
            # On the node of the driver, which is the head where a job or a service drives.
            label_selector={ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()},
            runtime_env={"env_vars": get_env_vars_to_propagate()} if get_env_vars_to_propagate() else None,
        )(ElasticTrainController)
        arguments["train_tab"] = train_tab_wanted()
        arguments["scaling_policy"] = TargetScalingPolicy(self.scaling_config)
        controller = actor_cls.options(
            name=controller_name(name),
            namespace=NAMESPACE,
            lifetime="detached" if self._job.detached else None,
        ).remote(train_fn_ref=train_fn_ref, **arguments)
        return attend(controller, self._job)


def run_elastic(job: WorkerJob) -> None:
    """Train until the run has ended; how it did is in the run directory. Raises ClusterUnavailable for a
    wrong Ray."""
    check_ray_version()
    try:
        with suppress(AttemptFailed):  # on record already, with its reason
            ElasticTorchTrainer(job).fit()
    except ControllerError as error:
        if isinstance(error.controller_failure, TumblerError):
            raise error.controller_failure from error
        raise
    except RayActorError as error:
        raise ClusterUnavailable(
            f"the controller of run {job.spec.name} died: {error}", hint="start it again with --resume"
        ) from error


def worker_bundle(resources: ResourcesSpec) -> dict[str, float]:
    """What one worker claims, in Ray's words: CPU and GPU in devices, memory in bytes."""
    bundle = {"CPU": resources.cpu, "GPU": resources.gpu, "memory": float(resources.memory or 0)}
    return {name: amount for name, amount in bundle.items() if amount}
