"""Benchmark `checkpoint`: what saving costs the steps around it, how long a commit takes, and a restore
beside the time to read its bytes; beside torch.save and PyTorch's own asynchronous checkpoint.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Bar, Report, bootstrap_interval
from orchestrator.checkpoints.streaming import streaming_copies

TUMBLER: Final = "tumbler"
SNAPSHOT: Final = "snapshot"
PEERS: Final = ("torch_save", "dcp_thread", "dcp_process")
COST, STALL, BESIDE, RESTORE = 0.02, 0.05, 0.05, 1.5
_STEP_S: Final = 0.1
"""The step that the promise of the stall is about."""
_BUSY, _SPARE = 2, 1
"""Workers: as many as there are cores, or one less."""


def run(*, quick: bool = False) -> Report:
    load_before = os.getloadavg()[0]
    blocks = 8 if quick else 40
    figures = {name: steps_of(name, blocks) for name in (TUMBLER, *PEERS)}
    busy, spare = (steps_of(SNAPSHOT, 2 * blocks, world) for world in (_BUSY, _SPARE))
    restored = restores(2 if quick else 7)
    own = figures[TUMBLER]
    return Report(
        "checkpoint",
        {
            "snapshot": busy,
            "snapshot_core_to_spare": spare,
            "checkpoint": own,
            **restored,
            "load_before": load_before,
        },
        {name: figures[name] for name in PEERS},
        [
            Bar.at_most("a snapshot every ten steps, cost of throughput", busy["cost"], COST, "of 1"),
            *(
                Bar.at_most(
                    f"stall of the step of a snapshot, relative to 100 ms, {cores}",
                    held["stall_s"] / _STEP_S,
                    STALL,
                    "of 1",
                )
                for held, cores in ((spare, "a core to spare"), (busy, "all cores busy"))
            ),
            Bar.at_most(
                "steps while a checkpoint is written, slower by", own["beside_ratio"] - 1, BESIDE, "of 1"
            ),
            *(
                Bar.at_most(
                    f"restore of 1.5 GB from {where}, relative to reading its bytes",
                    restored[f"{cache}_restore_ratio"],
                    RESTORE,
                    "times",
                )
                for cache, where in (("warm", "memory"), ("cold", "disk"))
            ),
        ],
    )


def steps_of(name: str, num_blocks: int, world: int = _BUSY) -> dict[str, Any]:
    """What `world` workers found, in an environment as Ray's workers have it here."""
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.checkpoint_steps",
                    name,
                    str(rank),
                    folder,
                    str(num_blocks),
                    str(world),
                ],
                env={**os.environ, **streaming_copies(os.environ)},
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for rank in range(world)
        ]
        output, _ = workers[0].communicate()
        for worker in workers:
            if worker.wait() != 0:
                raise RuntimeError(f"a worker of {name} ended with {worker.returncode}")
    found = json.loads(next(line for line in output.splitlines() if line.startswith(b"{")))
    plain = statistics.median(found["plain"])
    stalls = [first - plain for first in found["first"]]
    ratios = [one / other - 1 for one, other in zip(found["with"], found["without"], strict=True)]
    return {
        "state_mb": found["state_mb"],
        "step_p50_s": plain,
        "stall_s": statistics.median(stalls),
        "stall_interval_s": list(bootstrap_interval(stalls, statistics.median)),
        "cost": statistics.median(ratios),
        "cost_interval": list(bootstrap_interval(ratios, statistics.median)),
        "beside_ratio": statistics.median(found["beside"]) / plain if found["beside"] else 1.0,
        "beside_steps": len(found["beside"]),
        "commit_p50_s": statistics.median(found["commits"]) if found["commits"] else None,
    }


def restores(rounds: int) -> dict[str, Any]:
    """Medians of a restore and of reading the same files, each in a fresh process and in turn: when the files
    are in the page cache, and when they are not."""
    with tempfile.TemporaryDirectory() as folder:
        num_bytes = in_fresh_process("save", folder)
        figures: dict[str, Any] = {"restore_gb": num_bytes / 1e9}
        for cache in ("warm", "cold"):
            took: dict[str, list[float]] = {"read": [], "restore": []}
            for number in range(rounds):
                for what in took if number % 2 else reversed(took):
                    in_fresh_process("read", folder)
                    if cache == "cold":
                        forget(Path(folder))
                    took[what].append(in_fresh_process(what, folder))
            ratios = [one / other for one, other in zip(took["restore"], took["read"], strict=True)]
            figures |= {
                f"{cache}_read_s": statistics.median(took["read"]),
                f"{cache}_restore_s": statistics.median(took["restore"]),
                f"{cache}_restore_ratio": statistics.median(ratios),
                f"{cache}_restore_ratio_interval": list(bootstrap_interval(ratios, statistics.median)),
            }
    return figures


def in_fresh_process(what: str, folder: str) -> float:
    command = [sys.executable, "-m", "benchmarks.checkpoint_restore", what, folder]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def forget(folder: Path) -> None:
    """Let the next reader find nothing in the page cache."""
    for path in folder.glob("step-*/a*/*"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
