"""Peer for `startup`: what a user of stock Ray Train starts on one machine, a group of fixed size."""

import os
import sys
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from benchmarks.drill import Plan
from benchmarks.peers.stock_ray import work


def ray_arguments(num_cpus: int) -> dict[str, Any]:
    """Those with which Tumbler starts a Ray of its own, so that both wait for the same Ray."""
    return {
        "address": "local",
        "num_cpus": num_cpus,
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": "WARNING",
        "_node_ip_address": "127.0.0.1",
    }


def drive(plan: Plan) -> None:
    """Train on a local cluster, or in a Ray Job on that of the job, until this process is ended."""
    ray.init(**({} if "RAY_ADDRESS" in os.environ else ray_arguments(plan.num_workers)))
    TorchTrainer(
        work,
        train_loop_config={"plan": plan.to_json()},
        scaling_config=ScalingConfig(num_workers=plan.num_workers, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name="stock", storage_path=os.path.abspath(plan.folder)),
    ).fit()


if __name__ == "__main__":
    drive(Plan.from_json(sys.argv[1]))
