"""Benchmark `checkpoint`: what saving costs the steps around it, how long a commit takes, and a restore
beside the time to read its bytes; beside torch.save and PyTorch's own asynchronous checkpoint.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from benchmarks.checkpoint_steps import WORLD
from benchmarks.report import Bar, Report, bootstrap_interval
from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.manifest import Manifest, PartFile
from orchestrator.checkpoints.places import place_of
from trainers.checkpoints.reading import restore_newest
from trainers.checkpoints.saver import Origin, Saved, Saver
from trainers.elastic.messages import PartsWritten
from trainers.elastic.state import TrainState

TUMBLER: Final = "tumbler"
PEERS: Final = ("torch_save", "dcp_thread", "dcp_process")
COST, STALL, BESIDE, RESTORE = 0.02, 0.05, 0.05, 1.5
_STEP_S: Final = 0.1
"""The step that the promise of the stall is about."""
_CHUNK: Final = 4 << 20
_GPT2: Final = {"vocabulary": 50257, "context": 1024, "width": 768, "layers": 12}


def run(*, quick: bool = False) -> Report:
    load_before = os.getloadavg()[0]
    figures = {name: steps_of(name, 8 if quick else 40) for name in (TUMBLER, *PEERS)}
    restored = restores(2 if quick else 7)
    own = figures[TUMBLER]
    return Report(
        "checkpoint",
        {**own, **restored, "load_before": load_before},
        {name: figures[name] for name in PEERS},
        [
            Bar.at_most("a checkpoint every ten steps, cost of throughput", own["cost"], COST, "of 1"),
            Bar.at_most(
                "stall of the step that is saved, relative to 100 ms", own["stall_s"] / _STEP_S, STALL, "of 1"
            ),
            Bar.at_most("steps while it is written, slower by", own["beside_ratio"] - 1, BESIDE, "of 1"),
            Bar.at_most(
                "restore of 1.5 GB, relative to reading its bytes",
                restored["restore_ratio"],
                RESTORE,
                "times",
            ),
        ],
    )


def steps_of(name: str, num_blocks: int) -> dict[str, Any]:
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
                ],
                stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for rank in range(WORLD)
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


class Gpt2Sized(nn.Module):
    """The tensors of GPT-2 (124 million parameters), for their sizes alone."""

    def __init__(self) -> None:
        super().__init__()
        width = _GPT2["width"]
        self.tokens = nn.Embedding(_GPT2["vocabulary"], width)
        self.positions = nn.Embedding(_GPT2["context"], width)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(width),
                    nn.Linear(width, 3 * width),
                    nn.Linear(width, width),
                    nn.LayerNorm(width),
                    nn.Linear(width, 4 * width),
                    nn.Linear(4 * width, width),
                ]
            )
            for _ in range(_GPT2["layers"])
        )


def sized_state() -> TrainState:
    model = Gpt2Sized()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return TrainState(model, optimizer, None, step=1)


def restores(rounds: int) -> dict[str, Any]:
    """Medians of a restore and of reading the same files, in turn; both find them in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        state = sized_state()
        num_bytes = save(state, Path(folder))
        reads, restored = [], []
        catalog = Catalog(place_of(folder))
        candidates = catalog.committed()
        read_all(Path(folder))
        for _ in range(rounds):
            reads.append(read_all(Path(folder)))
            begun = time.perf_counter()
            found, passed_over = restore_newest(state, catalog, candidates, fingerprint="f")
            restored.append(time.perf_counter() - begun)
            assert found is not None, passed_over
    ratios = [one / other for one, other in zip(restored, reads, strict=True)]
    return {
        "restore_gb": num_bytes / 1e9,
        "read_s": statistics.median(reads),
        "restore_s": statistics.median(restored),
        "restore_ratio": statistics.median(ratios),
        "restore_ratio_interval": list(bootstrap_interval(ratios, statistics.median)),
    }


def save(state: TrainState, folder: Path) -> int:
    """A checkpoint of two members; its size in bytes."""
    reports: list[Saved] = []
    for rank in range(WORLD):
        saver = Saver(state, str(folder), 8, reports.append)
        saver.finish(Origin(f"w{rank}", 1, 1, rank, WORLD))
        saver.close()
    files = [file for report in reports if isinstance(report, PartsWritten) for file in report.files]
    parts = tuple(PartFile(name=name, size=size, xxh3=xxh3) for name, size, xxh3 in files)
    manifest = Manifest(
        step=state.step,
        attempt=1,
        generation=1,
        fingerprint="f",
        committed="2030-01-01T00:00:00Z",
        parts=parts,
    )
    Catalog(place_of(folder)).commit(manifest)
    return manifest.size


def read_all(folder: Path) -> float:
    """Seconds to read every byte of the parts into memory of the process, one file after the other."""
    begun = time.perf_counter()
    for path in sorted(folder.glob("step-*/a*/*")):
        size = path.stat().st_size
        whole = memoryview(bytearray(size))
        with path.open("rb", buffering=0) as file:
            place = 0
            while place < size:
                place += file.readinto(whole[place : place + _CHUNK]) or 0
    return time.perf_counter() - begun
