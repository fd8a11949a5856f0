"""Benchmark `startup`: from a fresh process to the first step, beside stock TorchTrainer.fit in turns."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import startup_served
from benchmarks.drill import Plan
from benchmarks.language_model import GLOBAL_BATCH
from benchmarks.peers.processes import python_module, running
from benchmarks.peers.stock_ray import ENVIRONMENT
from benchmarks.report import Bar, Report
from benchmarks.shared_steps import StepLogs
from benchmarks.tumbler_drill import STEP_LOG
from orchestrator.domain.spec import DataSpec, RunSpec
from trainers.task_registry import load_task

WORKLOAD = "benchmarks.language_model:gpt_nano"
NUM_WORKERS = 2
NUM_STEPS = 20
NUM_PAIRS, NUM_RUNS, NUM_HELPS = 5, 3, 5
POLL_S = 0.005
TIMEOUT_S = 180.0

START_RATIO, END_S, HELP_S = 1.1, 3.0, 0.5


@dataclass(frozen=True)
class Life:
    """One process, seen from outside."""

    to_first_step_s: float
    """From its start until all workers had applied step 1."""
    after_last_step_s: float | None
    """From the last step to its end; None where it did not end by itself."""


def run(*, quick: bool = False) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        prepare_data(storage)
        load = os.getloadavg()[0]
        num_pairs, num_runs = (2, 1) if quick else (NUM_PAIRS, NUM_RUNS)
        pairs = [pair(storage, number) for number in range(num_pairs)]
        runs = [live(tumbler_run, storage, f"run-{number}") for number in range(num_runs)]
        served = startup_served.pairs(storage, num_pairs)
    helps = [time_to_help() for _ in range(NUM_HELPS)]
    tumbler = [ours.to_first_step_s for ours, _ in pairs]
    stock = [theirs.to_first_step_s for _, theirs in pairs]
    ratios = [ours / theirs for ours, theirs in zip(tumbler, stock, strict=True)]
    ends = [ours.after_last_step_s for ours in runs if ours.after_last_step_s is not None]
    of_medians = statistics.median(tumbler) / statistics.median(stock)
    results = {
        **startup_served.results_of(served),
        "to_first_step_p50_s": statistics.median(tumbler),
        "to_first_step_s": tumbler,
        "to_first_step_ratio": of_medians,
        "to_first_step_ratio_of_pairs": ratios,
        "tumbler_run_to_first_step_s": [ours.to_first_step_s for ours in runs],
        "tumbler_run_after_last_step_s": ends,
        "trainers_main_after_last_step_s": [ours.after_last_step_s for ours, _ in pairs],
        "help_s": helps,
        "load_before": load,
    }
    peers = {"stock_ray": {"to_first_step_p50_s": statistics.median(stock), "to_first_step_s": stock}}
    bars = [*bars_of(of_medians, ratios, ends, helps), *startup_served.bars_of(served, START_RATIO)]
    return Report("startup", results, peers, bars)


def bars_of(
    of_medians: float, of_pairs: Sequence[float], ends: Sequence[float], helps: Sequence[float]
) -> list[Bar]:
    stock = "to the first step, relative to stock TorchTrainer.fit"
    median_pair, last_end = statistics.median(of_pairs), max(ends)
    return [
        Bar.at_most(f"{stock}: ratio of the medians", of_medians, START_RATIO, "of 1"),
        Bar.at_most(f"{stock}: median ratio of a pair", median_pair, START_RATIO, "of 1"),
        Bar.at_most("`tumbler run`, from its last step to its end", last_end, END_S, "s"),
        Bar.at_most("`tumbler --help`, median", statistics.median(helps), HELP_S, "s"),
    ]


def pair(storage: Path, number: int) -> tuple[Life, Life]:
    """Tumbler's life and stock's, one after the other; who goes first alternates."""
    if number % 2:
        theirs = live(stock_fit, storage, f"stock-{number}")
        return live(trainers_main, storage, f"main-{number}"), theirs
    ours = live(trainers_main, storage, f"main-{number}")
    return ours, live(stock_fit, storage, f"stock-{number}")


def prepare_data(storage: Path) -> None:
    """Neither contender pays for what only the first run on a machine does."""
    load_task("language_model", {"preset": "gpt-nano"}).build_dataset(DataSpec(), storage)


Command = Callable[[Path, Path], list[str]]
"""(folder of the run, storage) -> what to start."""


def trainers_main(folder: Path, storage: Path) -> list[str]:
    return python_module("trainers.main", _spec_file(folder, storage), "--num-cpus", str(NUM_WORKERS))


def tumbler_run(folder: Path, storage: Path) -> list[str]:
    return [_tumbler(), "run", "-f", _spec_file(folder, storage), "--num-cpus", str(NUM_WORKERS)]


def stock_fit(folder: Path, storage: Path) -> list[str]:
    plan = Plan(WORKLOAD, str(folder), str(storage), num_workers=NUM_WORKERS, checkpoint_every=10**9)
    return python_module("benchmarks.peers.stock_start", plan.to_json())


def live(command: Command, storage: Path, name: str) -> Life:
    """Start it and watch it: Tumbler to its end, stock, which would train for ever, to its first step."""
    folder = storage / f"traces-of-{name}"
    folder.mkdir()
    line = command(folder, storage)
    logs = StepLogs(folder)
    begun = time.time()
    with running(line, folder / "output.log", {**ENVIRONMENT, STEP_LOG: str(folder)}) as process:
        first = _wait_for_a_step(logs, process, folder)
        if command is stock_fit:
            return Life(first - begun, None)
        process.wait(TIMEOUT_S)
        ended = time.time()
    logs.refresh()
    newest = logs.newest
    if process.returncode or newest is None or newest.step != NUM_STEPS:
        raise ChildProcessError(f"it did not train to its end:\n{_output(folder)}")
    return Life(first - begun, ended - newest.t)


def time_to_help() -> float:
    begun = time.perf_counter()
    subprocess.run([_tumbler(), "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _wait_for_a_step(logs: StepLogs, process: subprocess.Popen[bytes], folder: Path) -> float:
    deadline = time.monotonic() + TIMEOUT_S
    while not logs.shared:
        if process.poll() is not None or time.monotonic() > deadline:
            raise ChildProcessError(f"it did not get to its first step:\n{_output(folder)}")
        time.sleep(POLL_S)
        logs.refresh()
    return logs.shared[0].t


def _spec_file(folder: Path, storage: Path) -> str:
    spec: dict[str, Any] = {
        "name": folder.name.removeprefix("traces-of-"),
        "task": "language_model",
        "model": {"preset": "gpt-nano"},
        "workers": NUM_WORKERS,
        "train": {"steps": NUM_STEPS, "global_batch": GLOBAL_BATCH},
        "checkpoint": {"storage": str(storage)},
    }
    path = folder / "run.json"
    path.write_text(RunSpec.parse(spec).canonical_json())
    return str(path)


def _tumbler() -> str:
    """The command that is installed beside this interpreter."""
    return str(Path(sys.executable).with_name("tumbler"))


def _output(folder: Path) -> str:
    return (folder / "output.log").read_text(errors="replace")[-2000:]
