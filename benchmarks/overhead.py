"""Benchmark `overhead`: what a step costs when nothing goes wrong, beside one that promises no bits."""

import os
import statistics
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from benchmarks.drill import Launch, Plan, train_alone
from benchmarks.duel import DuelPlan, work
from benchmarks.language_model import GLOBAL_BATCH
from benchmarks.peers.lineup import launch_of
from benchmarks.referee import FAST, STOCK, TUMBLER, Block, cpu_ratios, throughput_ratios
from benchmarks.report import Bar, Report, bootstrap_interval, percentile
from orchestrator.checkpoints.places import place_of
from orchestrator.checkpoints.sharing import leave_mark
from orchestrator.domain.run_search import RECORD_NAME
from trainers.elastic.messages import Report as WorkerReport
from trainers.ray_session import ray_session

WORKLOAD = "benchmarks.language_model:gpt_nano"
NUM_STEPS_ALONE = 200


@dataclass(frozen=True)
class Contest:
    """One duel: how many rows and workers, against whom, and how much slower Tumbler may be."""

    global_batch: int
    num_workers: int
    opponent: str
    most_slower: float | None = None
    """0.1 is 10 %; None is measured and not judged."""

    @property
    def label(self) -> str:
        against = "_fast" if self.opponent == FAST else ""
        return f"batch_{self.global_batch}_workers_{self.num_workers}{against}"


CONTESTS: Final = (
    Contest(GLOBAL_BATCH, 2, STOCK, 0.10),
    Contest(GLOBAL_BATCH, 2, FAST, 0.10),
    Contest(GLOBAL_BATCH, 3, STOCK, 0.35),
    Contest(GLOBAL_BATCH, 4, STOCK, 0.35),
    # Two rows in a logical shard: matrix products too small for a processor to be quick at.
    Contest(16, 2, STOCK),
)


def run(*, quick: bool = False) -> Report:
    with tempfile.TemporaryDirectory() as storage:
        duels = {contest: duel(contest, storage, quick=quick) for contest in CONTESTS}
        alone = measure(launch_of("torchrun"), storage, 30 if quick else NUM_STEPS_ALONE)
    results = _merged(duels, TUMBLER)
    return Report(
        "overhead",
        results,
        peers={
            "stock_ray": _merged(duels, STOCK),
            "fast": _merged(duels, FAST),
            "torchrun": _labelled(f"batch_{GLOBAL_BATCH}_workers_2", alone),
        },
        bars=[
            Bar.at_most(
                f"bitwise steps of {contest.num_workers} workers, time relative to "
                f"{'train.consistency fast' if contest.opponent == FAST else 'stock TorchTrainer and DDP'}",
                1 / results[f"{contest.label}_throughput_ratio"],
                1 + contest.most_slower,
                "of 1",
            )
            for contest in CONTESTS
            if contest.most_slower is not None
        ],
    )


def duel(contest: Contest, storage: str, *, quick: bool = False) -> dict[str, dict[str, Any]]:
    """The figures of both contenders of one duel on a local Ray of its own."""
    with tempfile.TemporaryDirectory() as folder:
        plan = DuelPlan(
            global_batch=contest.global_batch,
            num_blocks=8 if quick else 20,
            steps_per_block=6 if quick else 30,
            num_warmup=5 if quick else 10,
            folder=folder,
            storage=storage,
            num_workers=contest.num_workers,
            opponent=contest.opponent,
        )
        be_a_run_directory(Path(folder))
        load = os.getloadavg()[0]
        with ray_session(plan.spec, num_cpus=contest.num_workers + 2):
            result = TorchTrainer(
                work,
                train_loop_config={
                    "plan": asdict(plan),
                    "listener": ray.remote(num_cpus=0)(Listener).remote(),
                },
                scaling_config=ScalingConfig(
                    num_workers=contest.num_workers, resources_per_worker={"CPU": 1}
                ),
                run_config=RunConfig(name="duel", storage_path=folder),
            ).fit()
    blocks = [Block(**block) for block in result.return_value["blocks"]]
    figures = {name: _figures(blocks, name, plan) for name in (TUMBLER, contest.opponent)}
    ratios = throughput_ratios(blocks)
    figures[TUMBLER] |= {
        "throughput_ratio": statistics.median(ratios),
        "throughput_ratio_interval": list(bootstrap_interval(ratios, statistics.median)),
        "cpu_ratio": statistics.median(cpu_ratios(blocks)),
        "loss_difference_max": result.return_value["loss_difference"],
        "load_before": load,
    }
    return figures


def be_a_run_directory(folder: Path) -> None:
    """What a worker looks for before it trains."""
    (folder / RECORD_NAME).touch()
    leave_mark(place_of(folder / "checkpoints"), 1)


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


def _merged(duels: dict[Contest, dict[str, dict[str, Any]]], contender: str) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for contest, contenders in duels.items():
        if contender in contenders:
            figures |= _labelled(contest.label, contenders[contender])
    return figures


def _labelled(label: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {f"{label}_{figure}": value for figure, value in figures.items()}
