"""Peer: stock Ray Train, elastic from one worker to all of them.

There is room for a replacement beside the dead worker, so that none waits for resources to be given back.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train as ray_train
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from benchmarks.drill import IsAlive, Plan
from benchmarks.peers.processes import python_module, running
from benchmarks.peers.restarting import State, train

ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
STATE = "state.pt"


@contextmanager
def launch(plan: Plan) -> Iterator[IsAlive]:
    """See `benchmarks.drill.Launch`. The driver takes its local cluster with it when it ends."""
    command = python_module("benchmarks.peers.stock_ray", plan.to_json())
    with running(command, Path(plan.folder, "stock_ray.log"), ENVIRONMENT) as driver:
        yield lambda: driver.poll() is None


def work(config: dict[str, Any]) -> None:
    """One worker: `train_loop_per_worker` of the trainer."""
    plan = Plan.from_json(config["plan"])
    context = ray_train.get_context()
    rank = context.get_world_rank()
    checkpoint = ray_train.get_checkpoint()
    restored = None
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            restored = torch.load(Path(folder, STATE))

    def save(state: Callable[[], State]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            if rank == 0:
                torch.save(state(), Path(folder, STATE))
            ray_train.report({}, checkpoint=Checkpoint.from_directory(folder) if rank == 0 else None)

    train(plan, rank=rank, world=context.get_world_size(), restored=restored, save=save)


def drive(plan: Plan) -> None:
    """Train on a local cluster with twice the CPUs that the workers claim, until this process is ended."""
    ray.init(
        address="local", num_cpus=2 * plan.num_workers, include_dashboard=False, logging_level=logging.ERROR
    )
    TorchTrainer(
        work,
        train_loop_config={"plan": plan.to_json()},
        scaling_config=ScalingConfig(num_workers=(1, plan.num_workers), resources_per_worker={"CPU": 1}),
        run_config=RunConfig(
            name="stock",
            storage_path=os.path.abspath(plan.folder),
            failure_config=FailureConfig(max_failures=5),
        ),
    ).fit()


if __name__ == "__main__":
    drive(Plan.from_json(sys.argv[1]))
