"""Benchmark `recovery`: workers get SIGKILLs at random. How long until the next step, and at what cost?"""

import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.drill import Launch, Plan, recover
from benchmarks.joins import Join
from benchmarks.language_model import SMALL_BATCH
from benchmarks.peers.lineup import PEERS, launch_of
from benchmarks.recovery_figures import FaultFigures, Verdicts, figures_of, joins_in, median_step_s
from benchmarks.report import Bar, Report, percentile
from benchmarks.tumbler_drill import ONE, TWO, WHILE_STARTING, drill
from orchestrator.domain.spec import RunSpec

WORKLOAD = "benchmarks.language_model:gpt_nano"
SMALL_WORKLOAD = "benchmarks.language_model:gpt_nano_small_batch"
SEED = 1
NUM_KILLS_OF_PEERS = 1
SHORT_HEARTBEAT_MS = 1000

SCHEDULES: Final[Mapping[int, Mapping[str, int]]] = {
    2: {ONE: 5, WHILE_STARTING: 1},
    3: {ONE: 5, WHILE_STARTING: 2, TWO: 1},
    4: {ONE: 5, WHILE_STARTING: 2, TWO: 2},
}
"""Number of workers -> how many faults of each kind: 20 of one worker at full strength, as each of the 5
while a replacement starts follows one of those, and 3 of two at once."""
NUM_STEPS = 1200
QUICK_SCHEDULES: Final[Mapping[int, Mapping[str, int]]] = {3: {ONE: 2, WHILE_STARTING: 1, TWO: 1}}
QUICK_NUM_STEPS = 450

KILL_P50_S, KILL_MAX_S = 0.5, 2.0


def run(*, quick: bool = False) -> Report:
    schedules = QUICK_SCHEDULES if quick else SCHEDULES
    num_steps = QUICK_NUM_STEPS if quick else NUM_STEPS
    with tempfile.TemporaryDirectory() as storage:
        results, bars = measure_tumbler(Path(storage), schedules, num_steps)
        peers = {name: measure_peer(launch, storage) for name, launch in contenders().items()}
    for figures in peers.values():
        if "kill_to_next_step_p50_s" in figures:
            figures["kill_to_next_step_ratio"] = (
                figures["kill_to_next_step_p50_s"] / results["kill_to_next_step_p50_s"]
            )
    return Report("recovery", results, peers, bars)


def contenders() -> dict[str, Launch]:
    """The peers as their own documents set them up, and torchft with a heartbeat that suits one machine."""
    short = launch_of("torchft", heartbeat_timeout_ms=SHORT_HEARTBEAT_MS)
    return {peer: launch_of(peer) for peer in PEERS} | {f"torchft_heartbeat_{SHORT_HEARTBEAT_MS}_ms": short}


def measure_tumbler(
    storage: Path, schedules: Mapping[int, Mapping[str, int]], num_steps: int
) -> tuple[dict[str, Any], list[Bar]]:
    """One run for each number of workers, and one of a single worker that nobody disturbs."""
    faults: list[FaultFigures] = []
    joins: list[Join] = []
    verdicts = Verdicts()
    results: dict[str, Any] = {"seed": SEED, "num_steps": num_steps, "global_batch": SMALL_BATCH}
    for num_workers, counts in schedules.items():
        results[f"load_before_{num_workers}_workers"] = os.getloadavg()[0]
        drilled = drill(
            spec_of(storage, num_workers, num_steps),
            shuffled(counts, SEED + num_workers),
            num_workers=num_workers,
            seed=SEED + num_workers,
            folder=storage / f"steps-{num_workers}",
        )
        figures = figures_of(drilled)
        faults += figures
        joins += joins_in(drilled)
        verdicts.take(drilled)
        results[f"step_p50_s_of_{num_workers}_workers"] = median_step_s(drilled)
        results[f"kill_to_next_step_s_of_{num_workers}_workers"] = [
            round(fault.cost.kill_to_next_step_s, 3) for fault in figures
        ]
    alone = drill(
        spec_of(storage, 1, num_steps), [], num_workers=1, seed=SEED, folder=storage / "steps-alone"
    )
    verdicts.take(alone)
    return results | summary(faults, joins, verdicts), bars_of(faults, joins, verdicts)


def spec_of(storage: Path, max_workers: int, num_steps: int) -> RunSpec:
    return RunSpec.parse(
        {
            "name": f"recovery-{max_workers}",
            "task": "language_model",
            "model": {"preset": "gpt-nano"},
            "workers": {"min": 1, "max": max_workers},
            "train": {"steps": num_steps, "global_batch": SMALL_BATCH, "logical_shards": 8, "seed": SEED},
            "checkpoint": {"storage": str(storage), "every": 200},
        }
    )


def shuffled(counts: Mapping[str, int], seed: int) -> list[str]:
    """The faults in an order that the seed decides."""
    schedule = [kind for kind, count in counts.items() for _ in range(count)]
    random.Random(seed).shuffle(schedule)
    return schedule


def summary(faults: Sequence[FaultFigures], joins: Sequence[Join], verdicts: Verdicts) -> dict[str, Any]:
    to_next_step = [fault.cost.kill_to_next_step_s for fault in faults]
    to_full = [
        fault.cost.kill_to_full_strength_s
        for fault in faults
        if fault.cost.kill_to_full_strength_s is not None
    ]
    by_kind = {
        kind: [fault.cost.kill_to_next_step_s for fault in faults if fault.kind == kind]
        for kind in (ONE, WHILE_STARTING, TWO)
    }
    figures: dict[str, Any] = {
        "num_kills": len(faults),
        "kill_to_next_step_p50_s": percentile(to_next_step, 50),
        "kill_to_next_step_max_s": max(to_next_step),
        "kill_to_full_strength_p50_s": percentile(to_full, 50),
        "steps_repeated_max": max(fault.steps_repeated for fault in faults),
        "num_joins": len(joins),
        "parameters_sha256": sorted(verdicts.parameters),
    }
    for kind, values in by_kind.items():
        if values:
            figures[f"{kind}: number, p50, max"] = [len(values), percentile(values, 50), max(values)]
    if joins:
        pauses = [join.pause_s for join in joins]
        figures["join_pause_p50_s"] = percentile(pauses, 50)
        figures["join_pause_max_s"] = max(pauses)
        figures["state_copy_max_s"] = max(join.copy_s for join in joins)
        figures["join_step_p50_s"] = percentile([join.step_s for join in joins], 50)
    return figures


def bars_of(faults: Sequence[FaultFigures], joins: Sequence[Join], verdicts: Verdicts) -> list[Bar]:
    to_next_step = [fault.cost.kill_to_next_step_s for fault in faults]
    excess = max((join.pause_s / join.allowance_s for join in joins), default=0.0)
    repeated = max(fault.steps_repeated for fault in faults)
    lost = sum(fault.cost.survivors_lost for fault in faults)
    others = len(verdicts.parameters) - 1
    return [
        Bar.at_most(
            "kill to the next step of all members, p50", percentile(to_next_step, 50), KILL_P50_S, "s"
        ),
        Bar.at_most("kill to the next step of all members, max", max(to_next_step), KILL_MAX_S, "s"),
        Bar.at_most("steps repeated by a kill", repeated, 1, "steps"),
        Bar.at_most("survivors that did not go on in their process", lost, 0, "workers"),
        Bar.at_most("longest pause of a join, of max(0.25 s, 2 steps) and the copy", excess, 1, "of 1"),
        Bar.at_most("runs whose audit found a problem", verdicts.num_bad_audits, 0, "runs"),
        Bar.at_most("other parameters than one undisturbed worker's", others, 0, "SHA-256"),
        Bar.at_most("kills planned for which the runs were too short", verdicts.num_missed, 0, "kills"),
    ]


def measure_peer(launch: Launch, storage: str) -> dict[str, Any]:
    """As `measure`, at the batch Tumbler had; a peer that does not come back is a result too."""
    try:
        return measure(launch, storage, NUM_KILLS_OF_PEERS, workload=SMALL_WORKLOAD)
    except (TimeoutError, ChildProcessError) as error:
        return {"failed": str(error).splitlines()[0]}


def measure(launch: Launch, storage: str, num_kills: int, *, workload: str = WORKLOAD) -> dict[str, Any]:
    """What `num_kills` kills cost a contender, each in a run of its own and at a phase of its own."""
    kills = []
    for seed in range(1, num_kills + 1):
        with tempfile.TemporaryDirectory() as folder:
            kills.append(recover(launch, Plan(workload, folder, storage, seed=seed)))
    to_next_step = [kill.kill_to_next_step_s for kill in kills]
    return {
        "num_kills": num_kills,
        "kill_to_next_step_p50_s": percentile(to_next_step, 50),
        "kill_to_next_step_max_s": max(to_next_step),
        "kill_to_full_strength_p50_s": percentile([kill.kill_to_full_strength_s for kill in kills], 50),
        "steps_repeated_max": max(kill.steps_repeated for kill in kills),
    }
