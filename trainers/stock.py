"""Runs that are not Tasks: any Ray Train function and any script, unchanged, with Ray Train's own restart
elasticity."""

import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ray
import ray.train
import ray.train.collective
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from orchestrator.domain.events import EventKind
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import EndReason, RunStatus
from trainers.door import load_entrypoint
from trainers.elastic.job import WorkerJob, run_environment
from trainers.ray_train.lookout import Lookout
from trainers.ray_train.trainer import worker_bundle
from trainers.recorder import Recorder
from trainers.worker_log import logging_to

_LOOK_EVERY_S: Final = 0.2


def run_stock(job: WorkerJob) -> None:
    """Train with stock Ray Train until the run has ended; how it did is in the run directory."""
    spec = job.spec
    logs = job.run_folder / "logs"
    trainer = TorchTrainer(
        _logged(load_entrypoint(spec), logs, job.attempt) if spec.entrypoint else run_command,
        train_loop_config=dict(spec.config)
        if spec.entrypoint
        else {"command": spec.command, "env": _environment(job), "log": f"{logs}/{job.attempt}-rank"},
        scaling_config=ScalingConfig(
            num_workers=(spec.workers.min, spec.workers.max)
            if spec.workers.min < spec.workers.max
            else spec.workers.min,
            use_gpu=spec.resources.gpu > 0,
            resources_per_worker=worker_bundle(spec.resources),
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(job.run_folder),
            failure_config=FailureConfig(max_failures=spec.retry.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=spec.checkpoint.keep_last),
        ),
    )
    record = Recorder(RunDirectory(job.run_folder), global_batch=spec.train.global_batch, link_every=1)
    record.move(RunStatus.STARTING)
    record.event(EventKind.RUN_STARTED, f"attempt {job.attempt} of {spec.name} starts with stock Ray Train")
    record.move(RunStatus.RUNNING, workers=spec.workers.max)
    ordered = _OrderedStop()
    try:
        with ordered.heard(job):
            result = trainer.fit()
    except (SystemExit, KeyboardInterrupt):  # how Ray Train ends a run at Ctrl-C
        record.end(ordered.reason, ordered.message)
    except TrainingFailedError as error:
        record.end(EndReason.MAX_FAILURES_EXCEEDED, str(error).strip().splitlines()[-1])
    else:
        numbers = {k: float(v) for k, v in (result.metrics or {}).items() if isinstance(v, int | float)}
        if result.checkpoint is not None:
            record.move(RunStatus.RUNNING, checkpoint=result.checkpoint.path)
        record.move(RunStatus.RUNNING, metrics=numbers)
        record.end(EndReason.FINISHED)
    finally:
        record.close()


class _OrderedStop:
    """A stop that the service orders is Ctrl-C to Ray Train: it ends the workers and saves nothing itself.

    There is no controller to adopt: with the driver the attempt is lost. A new target is not heard either.
    """

    reason = EndReason.USER_CANCELLED
    message = "stopped by a signal"

    @contextmanager
    def heard(self, job: WorkerJob) -> Iterator[None]:
        if not job.detached:
            yield
            return
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(job, over), daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()

    def _watch(self, job: WorkerJob, over: threading.Event) -> None:
        lookout = Lookout(RunDirectory(job.run_folder), job.attempt)
        while not over.wait(_LOOK_EVERY_S):
            orders = lookout.look().orders
            if orders is not None and orders.stop is not None:
                self.reason = orders.stop
                self.message = orders.why_stop
                os.kill(os.getpid(), signal.SIGINT)
                return


def run_command(config: dict[str, Any]) -> None:
    """One worker of a `command:` run: the script in a process of its own, with torchrun's environment
    variables.

    Raises RuntimeError where it exits with anything but 0, which Ray Train answers with a restart of the
    group.
    """
    context = ray.train.get_context()
    address = ray.train.collective.broadcast_from_rank_zero(_free_address())
    environment = {
        **os.environ,
        **config["env"],
        # `python` in the command is the one that runs Tumbler here.
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]),
        "RANK": str(context.get_world_rank()),
        "WORLD_SIZE": str(context.get_world_size()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "GROUP_RANK": str(context.get_node_rank()),
        "MASTER_ADDR": address[0],
        "MASTER_PORT": str(address[1]),
    }
    with open(f"{config['log']}{context.get_world_rank()}.log", "ab") as log:
        code = subprocess.run(
            ["/bin/sh", "-c", config["command"]],
            env=environment,
            cwd=config["env"]["TUMBLER_WORKING_DIR"],
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code != 0:
        raise RuntimeError(f"`{config['command']}` exited with {code} on rank {context.get_world_rank()}")


def _environment(job: WorkerJob) -> dict[str, str]:
    return run_environment(job) | {
        "OMP_NUM_THREADS": str(job.spec.resources.threads),
        "TUMBLER_WORKING_DIR": job.spec.code.working_dir,
    }


def _logged(function: Callable[..., Any], logs: Path, attempt: int) -> Callable[[dict[str, Any]], Any]:
    """The user's function, with what it prints copied to the run directory."""
    takes_config = bool(inspect.signature(function).parameters)

    def train_loop_per_worker(config: dict[str, Any]) -> Any:
        rank = ray.train.get_context().get_world_rank()
        with logging_to(logs / f"{attempt}-rank{rank}.log"):
            return function(config) if takes_config else function()

    return train_loop_per_worker


def _free_address() -> tuple[str, int]:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return ray.util.get_node_ip_address(), probe.getsockname()[1]
