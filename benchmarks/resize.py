"""Benchmark `resize`: a living run grows and shrinks again and again. How long does the group pause?"""

import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.drill import Plan
from benchmarks.language_model import SMALL_BATCH
from benchmarks.peers.stock_resize import measure_growth
from benchmarks.report import Bar, Report, percentile
from benchmarks.resizes import (
    GROW,
    SHRINK,
    Resize,
    Resized,
    resize_again_and_again,
    resizes_of,
    until_full,
)
from orchestrator.domain.spec import RunSpec

SMALL_WORKLOAD: Final = "benchmarks.language_model:gpt_nano_small_batch"
SEED: Final = 1
LEAST, LARGER = 2, (3, 4)
EACH, NUM_STEPS = 20, 6000
"""Changes in each direction, and steps that leave time for them."""
QUICK_EACH, QUICK_NUM_STEPS = 3, 900
PAUSE_P50_S: Final = 1.0


def run(*, quick: bool = False) -> Report:
    each, num_steps = (QUICK_EACH, QUICK_NUM_STEPS) if quick else (EACH, NUM_STEPS)
    with tempfile.TemporaryDirectory() as storage:
        results, bars = measure_tumbler(Path(storage), each, num_steps)
        peers = {"stock_ray": measure_peer(storage)}
    for figures in peers.values():
        if "pause_s" in figures:
            figures["pause_ratio"] = figures["pause_s"] / results["grow: pause_p50_s"]
    return Report("resize", results, peers, bars)


def sizes(each: int, seed: int) -> list[int]:
    """Up to three or four and back to two, `each` times."""
    rng = random.Random(seed)
    return [size for _ in range(each) for size in (rng.choice(LARGER), LEAST)]


def measure_tumbler(storage: Path, each: int, num_steps: int) -> tuple[dict[str, Any], list[Bar]]:
    """One run that is resized, and one of a single worker that nobody disturbs."""
    load = os.getloadavg()[0]
    cpus = max(LARGER) + 1
    resized = resize_again_and_again(
        spec_of(storage, "resized", LEAST, num_steps),
        sizes(each, SEED),
        begin_with=LEAST,
        num_cpus=cpus,
        folder=storage / "steps",
    )
    alone = resize_again_and_again(
        spec_of(storage, "alone", 1, num_steps),
        [],
        begin_with=1,
        num_cpus=cpus,
        folder=storage / "steps-alone",
    )
    changes = resizes_of(resized)
    results = {"seed": SEED, "num_steps": num_steps, "global_batch": SMALL_BATCH, "load_before": load}
    return results | summary(resized, changes), bars_of(resized, alone, changes)


def spec_of(storage: Path, name: str, workers: int, num_steps: int) -> RunSpec:
    return RunSpec.parse(
        {
            "name": name,
            "task": "language_model",
            "model": {"preset": "gpt-nano"},
            "workers": {"min": 1, "max": workers},
            "train": {"steps": num_steps, "global_batch": SMALL_BATCH, "logical_shards": 8, "seed": SEED},
            "checkpoint": {"storage": str(storage), "every": 200},
        }
    )


def summary(resized: Resized, changes: Sequence[Resize]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "num_orders": len(resized.orders),
        "steps_repeated_max": max((change.steps_repeated for change in changes), default=0),
        "parameters_sha256": resized.parameters_sha256,
        "goodput": resized.spent.goodput,
        "worker_s": {bucket.value: round(s, 3) for bucket, s in resized.spent.buckets.items()},
    }
    for kind in (GROW, SHRINK):
        pauses = [change.pause_s for change in changes if change.kind == kind]
        waits = until_full(resized, kind)
        if pauses:
            figures[f"{kind}: num_generations"] = len(pauses)
            figures[f"{kind}: pause_p50_s"] = percentile(pauses, 50)
            figures[f"{kind}: pause_max_s"] = max(pauses)
            figures[f"{kind}: step_p50_s"] = percentile(
                [change.step_s for change in changes if change.kind == kind], 50
            )
        if waits:
            figures[f"{kind}: order_to_first_step_p50_s"] = percentile(waits, 50)
    return figures


def bars_of(resized: Resized, alone: Resized, changes: Sequence[Resize]) -> list[Bar]:
    bars = []
    for kind in (GROW, SHRINK):
        pauses = [change.pause_s for change in changes if change.kind == kind]
        worst = percentile(pauses, 50) if pauses else float("1e9")
        bars.append(Bar.at_most(f"pause of the group, {kind}, p50", worst, PAUSE_P50_S, "s"))
    repeated = max((change.steps_repeated for change in changes), default=0)
    missed = resized.num_planned - len(resized.orders)
    others = len({resized.parameters_sha256, alone.parameters_sha256}) - 1
    bad = (not resized.audit_ok) + (not alone.audit_ok)
    lost = sum(event["kind"] == "worker-lost" for event in resized.events)
    return [
        *bars,
        Bar.at_most("steps repeated by a resize", repeated, 0, "steps"),
        Bar.at_most("workers lost on the way", lost, 0, "workers"),
        Bar.at_most("runs whose audit found a problem", bad, 0, "runs"),
        Bar.at_most("other parameters than one undisturbed worker's", others, 0, "SHA-256"),
        Bar.at_most("resizes planned for which the run was too short", missed, 0, "resizes"),
    ]


def measure_peer(storage: str) -> Mapping[str, Any] | dict[str, Any]:
    """Stock Ray Train, told to grow once by more CPUs; a peer that does not is a result too."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(SMALL_WORKLOAD, folder, storage, num_workers=max(LARGER), seed=SEED)
        try:
            return measure_growth(plan)
        except (TimeoutError, ChildProcessError) as error:
            return {"failed": str(error).splitlines()[0]}
