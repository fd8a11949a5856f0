"""Benchmark `overhead`: what a step costs with two workers when nothing goes wrong."""

import tempfile
from functools import partial
from typing import Any

from benchmarks.drill import Launch, Plan, train_alone
from benchmarks.language_model import GLOBAL_BATCH
from benchmarks.peers.lineup import PEERS, launch_of
from benchmarks.recovery import WORKLOAD
from benchmarks.report import Report, bootstrap_interval, percentile

NUM_STEPS = 200


def run() -> Report:
    with tempfile.TemporaryDirectory() as storage:
        peers = {peer: measure(launch_of(peer), storage) for peer in PEERS}
    return Report("overhead", results={}, peers=peers, bars=())


def measure(launch: Launch, storage: str, num_steps: int = NUM_STEPS) -> dict[str, Any]:
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
