"""Peer: stock Ray Train, elastic, in a cluster that gets a second node while it trains.

It shrinks only by losing a node, which is a recovery; growing is what can be compared. It looks for room each
second instead of each minute, which is in its favour.
"""

import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import ray
from ray.cluster_utils import Cluster
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from benchmarks.drill import Plan
from benchmarks.peers.processes import python_module, running
from benchmarks.peers.stock_ray import ENVIRONMENT, work
from benchmarks.steps import Step, StepReader

GROW_AFTER_STEP: Final = 30
STEPS_AFTER: Final = 10
BEGIN_WITH: Final = 2
_TIMEOUT_S: Final = 180.0
_POLL_S: Final = 0.05


def measure_growth(plan: Plan) -> dict[str, Any]:
    """What one growth from two workers cost. Raises TimeoutError, or ChildProcessError where it failed."""
    log = Path(plan.folder, "stock_resize.log")
    command = python_module("benchmarks.peers.stock_resize", plan.to_json())
    with running(command, log, ENVIRONMENT) as driver:
        reader = StepReader(plan.log)
        deadline = time.monotonic() + _TIMEOUT_S
        while not _grown(reader.refresh()):
            if driver.poll() is not None:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise ChildProcessError(f"stock Ray Train ended by itself: {''.join(last)}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"stock Ray Train did not grow within {_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)
    return growth_in(reader.steps)


def growth_in(steps: list[Step]) -> dict[str, Any]:
    """From the last step of the smaller group to the first one of the larger."""
    first = min((step for step in steps if step.world > BEGIN_WITH), key=lambda step: step.t)
    before = [step for step in steps if step.t < first.t]
    last = max(before, key=lambda step: step.t)
    return {
        "num_resizes": 1,
        "pause_s": first.t - last.t,
        "steps_repeated": max(0, max(step.step for step in before) - first.step + 1),
    }


def _grown(steps: list[Step]) -> bool:
    return len({step.step for step in steps if step.world > BEGIN_WITH}) >= STEPS_AFTER


def drive(plan: Plan) -> None:
    """Train on a cluster of one node that gets a second one, until this process is ended."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": BEGIN_WITH})
    ray.init(address=cluster.address, logging_level=logging.ERROR)
    with ThreadPoolExecutor(1) as pool:  # Ray starts nodes in the main thread only
        trained = pool.submit(_train, plan)
        reader = StepReader(plan.log)
        while not any(step.step >= GROW_AFTER_STEP for step in reader.refresh()):
            time.sleep(_POLL_S)
            if trained.done():
                break
        cluster.add_node(num_cpus=plan.num_workers - BEGIN_WITH)
        trained.result()


def _train(plan: Plan) -> None:
    TorchTrainer(
        work,
        train_loop_config={"plan": plan.to_json()},
        scaling_config=ScalingConfig(
            num_workers=(BEGIN_WITH, plan.num_workers),
            resources_per_worker={"CPU": 1},
            elastic_resize_monitor_interval_s=1.0,
        ),
        run_config=RunConfig(
            name="stock",
            storage_path=os.path.abspath(plan.folder),
            failure_config=FailureConfig(max_failures=5),
        ),
    ).fit()


if __name__ == "__main__":
    drive(Plan.from_json(sys.argv[1]))
