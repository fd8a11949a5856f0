"""From submit to the first step on a head that is up: `tumbler submit`, beside `ray job submit` of a stock
TorchTrainer script, in turns."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.deployment import Deployment, deployment
from benchmarks.drill import Plan
from benchmarks.language_model import GLOBAL_BATCH
from benchmarks.report import Bar
from benchmarks.shared_steps import StepLogs
from orchestrator.domain.journal import read_journal

WORKLOAD = "benchmarks.language_model:gpt_nano"
NUM_WORKERS = 2
NUM_STEPS = 20
POLL_S = 0.005
TIMEOUT_S = 180.0

Pair = tuple[float, float]
"""Seconds from submit to the first step: Tumbler's and stock's."""


def pairs(storage: Path, num_pairs: int) -> list[Pair]:
    """`storage` holds the prepared data. One pair more is thrown away: the first of each on a new head."""
    measured = []
    with deployment(storage / "deployment", num_cpus=NUM_WORKERS) as deployed:
        for number in range(num_pairs + 1):
            if number % 2:
                theirs = stock(deployed, storage, f"job-{number}")
                ours = tumbler(deployed, storage, f"served-{number}")
            else:
                ours = tumbler(deployed, storage, f"served-{number}")
                theirs = stock(deployed, storage, f"job-{number}")
            measured.append((ours, theirs))
    return measured[1:]


def results_of(measured: Sequence[Pair]) -> dict[str, Any]:
    return {
        "submit_to_first_step_s": [ours for ours, _ in measured],
        "submit_to_first_step_stock_s": [theirs for _, theirs in measured],
        "submit_to_first_step_ratio_of_pairs": [ours / theirs for ours, theirs in measured],
    }


def bars_of(measured: Sequence[Pair], limit: float) -> list[Bar]:
    stock_words = "submit to the first step, relative to `ray job submit` of stock TorchTrainer"
    of_medians = statistics.median(o for o, _ in measured) / statistics.median(t for _, t in measured)
    of_pairs = statistics.median(ours / theirs for ours, theirs in measured)
    return [
        Bar.at_most(f"{stock_words}: ratio of the medians", of_medians, limit, "of 1"),
        Bar.at_most(f"{stock_words}: median ratio of a pair", of_pairs, limit, "of 1"),
    ]


def tumbler(deployed: Deployment, storage: Path, name: str) -> float:
    spec = {
        "name": name,
        "task": "language_model",
        "model": {"preset": "gpt-nano"},
        "workers": NUM_WORKERS,
        "train": {"steps": NUM_STEPS, "global_batch": GLOBAL_BATCH},
        "checkpoint": {"storage": str(storage)},
    }
    path = storage / f"{name}.json"
    path.write_text(json.dumps(spec))
    begun = time.time()
    deployed.tumbler("submit", "-f", str(path), "--detach")
    deployed.tumbler("wait", name, timeout_s=TIMEOUT_S)
    outbox = storage / name / "outbox"
    first = next(record["time"] for record in read_journal(outbox, "metrics") if "step_s" in record)
    return float(first) - begun


def stock(deployed: Deployment, storage: Path, name: str) -> float:
    folder = storage / f"traces-of-{name}"
    folder.mkdir()
    plan = Plan(WORKLOAD, str(folder), str(storage), num_workers=NUM_WORKERS, checkpoint_every=10**9)
    script = [sys.executable, "-m", "benchmarks.peers.stock_start", plan.to_json()]
    logs = StepLogs(folder)
    begun = time.time()
    _ray_job(deployed, "submit", "--no-wait", "--submission-id", name, "--", *script)
    deadline = time.monotonic() + TIMEOUT_S
    while not logs.shared:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stock job {name} did not get to its first step")
        time.sleep(POLL_S)
        logs.refresh()
    _ray_job(deployed, "stop", name)
    _ray_job(deployed, "delete", name)
    return logs.shared[0].t - begun


def _ray_job(deployed: Deployment, *words: str) -> None:
    subprocess.run(
        [deployed.ray, "job", *words],
        env=deployed.ray_environment,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
    )
