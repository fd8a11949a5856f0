"""Benchmark `overhead`: what a step costs with two workers when nothing goes wrong."""

import os
import statistics
import tempfile
from dataclasses import asdict
from functools import partial
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from benchmarks.drill import Launch, Plan, train_alone
from benchmarks.duel import DuelPlan, work
from benchmarks.language_model import GLOBAL_BATCH
from benchmarks.peers.lineup import launch_of
from benchmarks.referee import STOCK, TUMBLER, Block, cpu_ratios, throughput_ratios
from benchmarks.report import Bar, Report, bootstrap_interval, percentile
from trainers.elastic.messages import Report as WorkerReport
from trainers.ray_session import ray_session

WORKLOAD = "benchmarks.language_model:gpt_nano"
BATCHES = (64, 16)
BATCH_WITH_A_BAR = GLOBAL_BATCH
LEAST_THROUGHPUT = 0.95
NUM_STEPS_ALONE = 200


def run(*, quick: bool = False) -> Report:
    with tempfile.TemporaryDirectory() as storage:
        duels = {batch: duel(batch, storage, quick=quick) for batch in BATCHES}
        alone = measure(launch_of("torchrun"), storage, 30 if quick else NUM_STEPS_ALONE)
    results = _merged(duels, TUMBLER)
    return Report(
        "overhead",
        results,
        peers={"stock_ray": _merged(duels, STOCK), "torchrun": _labelled(GLOBAL_BATCH, alone)},
        bars=[
            Bar.at_least(
                f"throughput at a batch of {BATCH_WITH_A_BAR}, relative to stock TorchTrainer and DDP",
                results[f"batch_{BATCH_WITH_A_BAR}_throughput_ratio"],
                LEAST_THROUGHPUT,
                "of 1",
            )
        ],
    )


def duel(global_batch: int, storage: str, *, quick: bool = False) -> dict[str, dict[str, Any]]:
    """The figures of both contenders of one duel on a local Ray of its own."""
    with tempfile.TemporaryDirectory() as folder:
        plan = DuelPlan(
            global_batch=global_batch,
            num_blocks=8 if quick else 20,
            steps_per_block=10 if quick else 30,
            num_warmup=10,
            folder=folder,
            storage=storage,
        )
        load = os.getloadavg()[0]
        with ray_session(plan.spec, num_cpus=4):
            result = TorchTrainer(
                work,
                train_loop_config={
                    "plan": asdict(plan),
                    "listener": ray.remote(num_cpus=0)(Listener).remote(),
                },
                scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
                run_config=RunConfig(name="duel", storage_path=folder),
            ).fit()
    blocks = [Block(**block) for block in result.return_value["blocks"]]
    figures = {name: _figures(blocks, name, plan) for name in (TUMBLER, STOCK)}
    ratios = throughput_ratios(blocks)
    figures[TUMBLER] |= {
        "throughput_ratio": statistics.median(ratios),
        "throughput_ratio_interval": list(bootstrap_interval(ratios, statistics.median)),
        "cpu_ratio": statistics.median(cpu_ratios(blocks)),
        "loss_difference_max": result.return_value["loss_difference"],
        "load_before": load,
    }
    return figures


class Listener:
    """Takes the reports of the workers, as a controller would."""

    def take_report(self, report: WorkerReport) -> None:
        pass


def measure(launch: Launch, storage: str, num_steps: int = NUM_STEPS_ALONE) -> dict[str, Any]:
    """The median step of an undisturbed run, with its 95 % interval, and what that makes in rows."""
    with tempfile.TemporaryDirectory() as folder:
        times = train_alone(launch, Plan(WORKLOAD, folder, storage), num_steps=num_steps)
    median = percentile(times, 50)
    return {
        "num_steps": len(times),
        "step_p50_s": median,
        "step_p50_interval_s": list(bootstrap_interval(times, partial(percentile, q=50))),
        "step_p95_s": percentile(times, 95),
        "rows_per_s": GLOBAL_BATCH / median,
    }


def _figures(blocks: list[Block], contender: str, plan: DuelPlan) -> dict[str, Any]:
    """Medians over the blocks of a contender, per step."""
    own = [block for block in blocks if block.contender == contender]
    step_s = statistics.median(block.wall_s for block in own) / plan.steps_per_block
    parts = {
        f"{part}_s": statistics.median(block.parts_s[part] for block in own) / plan.steps_per_block
        for part in own[0].parts_s
    }
    return {
        "num_steps": len(own) * plan.steps_per_block,
        "step_p50_s": step_s,
        "rows_per_s": plan.global_batch / step_s,
        # Well below 1 where other processes wanted the cores, or where ranks waited for each other.
        "processor_share": statistics.median(block.cpu_s / block.wall_s for block in own),
        **parts,
    }


def _merged(duels: dict[int, dict[str, dict[str, Any]]], contender: str) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for batch, contenders in duels.items():
        figures |= _labelled(batch, contenders[contender])
    return figures


def _labelled(batch: int, figures: dict[str, Any]) -> dict[str, Any]:
    return {f"batch_{batch}_{figure}": value for figure, value in figures.items()}
