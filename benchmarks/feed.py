"""Benchmark `feed`: rows from segments beside a plain loop over the same files, resumes, the first batch of a
first run beside stock Ray Data, and memory over a corpus of ten times the object store.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.feed_readers import plain_epoch, plan_epoch, resumes_s
from benchmarks.report import Bar, Report, percentile
from trainers.feed.segments import SegmentStore

ROW_BYTES: Final = 64 << 10
ROWS_PER_FILE: Final = 256
BATCH: Final = 64
WINDOW: Final = 2048
STORE_MB: Final = 200
"""Ray's object store for the fill; the feed may use a part of it."""

LEAST_SHARE, RESUME_S, FIRST_BATCH_RATIO, GROWTH_MB = 0.95, 1.0, 1.2, 64.0


@dataclass(frozen=True)
class Scale:
    corpus_mb: int
    rounds: int
    """Of the two readers, in turn."""
    starts: int
    """Of each contender for the first batch."""


FULL = Scale(corpus_mb=2100, rounds=5, starts=3)
QUICK = Scale(corpus_mb=256, rounds=1, starts=1)


def run(*, quick: bool = False) -> Report:
    scale = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        num_rows = write_corpus(source, scale.corpus_mb)
        load_before = os.getloadavg()[0]
        firsts: dict[str, list[float]] = {"tumbler": [], "ray_data": []}
        for number in range(scale.starts):
            for who in firsts if number % 2 else reversed(firsts):
                firsts[who].append(first_batch(who, source, Path(folder, f"first-{number}"))["first_s"])
        filled = first_batch("fill", source, Path(folder, "filled"))
        store = SegmentStore(Path(filled["folder"]))
        readers = read_in_turn(store, num_rows, scale.rounds)
        resumed = resumes_s(store.folder, num_rows, BATCH, WINDOW)
    ratio = percentile(firsts["tumbler"], 50) / percentile(firsts["ray_data"], 50)
    results = {
        "rows": num_rows,
        "corpus_mb": scale.corpus_mb,
        "plan_order_mb_per_s": readers["plan"],
        "plan_order_checking_mb_per_s": readers["checking"],
        "resume_max_s": max(resumed),
        "first_batch_s": firsts["tumbler"],
        "fill_mb_per_s": filled["mb_per_s"],
        "feed_rss_first_tenth_mb": filled["rss_early_mb"],
        "feed_rss_peak_mb": filled["rss_peak_mb"],
        "object_store_mb": STORE_MB,
        "object_store_peak_mb": filled["store_peak_mb"],
        "spilled_mb": filled["spilled_mb"],
        "load_before": load_before,
    }
    peers: dict[str, dict[str, Any]] = {
        "pyarrow loop": {"read_only_mb_per_s": readers["plain"], "copying_mb_per_s": readers["copying"]},
        "ray_data": {"first_batch_s": firsts["ray_data"]},
    }
    return Report("feed", results, peers, bars_of(results, readers, ratio))


def bars_of(results: dict[str, Any], readers: dict[str, float], first_batch_ratio: float) -> list[Bar]:
    growth = results["feed_rss_peak_mb"] - results["feed_rss_first_tenth_mb"]
    share = readers["plan"] / readers["plain"]
    return [
        Bar.at_least("rows in the order of the plan, relative to a plain loop", share, LEAST_SHARE, "of 1"),
        Bar.at_most("from opening the store to a batch, anywhere", results["resume_max_s"], RESUME_S, "s"),
        Bar.at_most(
            "first batch of a first run, relative to stock Ray Data",
            first_batch_ratio,
            FIRST_BATCH_RATIO,
            "times",
        ),
        Bar.at_most("growth of the feed after a tenth of the corpus", growth, GROWTH_MB, "MB"),
        Bar.at_most("object store in use", results["object_store_peak_mb"], float(STORE_MB), "MB"),
    ]


def write_corpus(folder: Path, megabytes: int) -> int:
    """Parquet files of random numbers, which nothing can compress; returns how many rows."""
    folder.mkdir()
    drawn = np.random.default_rng(1)
    num_files = max(1, megabytes * 10**6 // (ROW_BYTES * ROWS_PER_FILE))
    for number in range(num_files):
        content = drawn.random(ROWS_PER_FILE * ROW_BYTES // 4, dtype=np.float32)
        rows = pa.FixedSizeListArray.from_arrays(pa.array(content), ROW_BYTES // 4)
        labels = pa.array(np.arange(ROWS_PER_FILE) + number * ROWS_PER_FILE)
        table = pa.table({"pixels": rows.cast(pa.list_(pa.float32())), "label": labels})
        pq.write_table(table, folder / f"{number:05d}.parquet", compression="none", use_dictionary=False)
    return num_files * ROWS_PER_FILE


def read_in_turn(store: SegmentStore, num_rows: int, rounds: int) -> dict[str, float]:
    """Median MB/s of a plain loop over the segments, and of their rows in the order of a plan: when they are
    checked as they are opened first, and later on."""
    speeds: dict[str, list[float]] = {"plain": [], "copying": [], "plan": [], "checking": []}
    megabytes = num_rows * ROW_BYTES / 1e6
    plain_epoch(store, BATCH)  # from here on all files are in memory
    for number in range(rounds):
        epochs = plan_epoch(store.folder, num_rows, BATCH, WINDOW, epochs=2, seed=number)
        checking_s, plan_s = epochs
        speeds["checking"].append(megabytes / checking_s)
        speeds["plan"].append(megabytes / plan_s)
        speeds["plain"].append(megabytes / plain_epoch(store, BATCH))
        speeds["copying"].append(megabytes / plain_epoch(store, BATCH, copies=True))
    return {name: percentile(values, 50) for name, values in speeds.items()}


def first_batch(who: str, source: Path, storage: Path) -> dict[str, Any]:
    """What a fresh process with a Ray of its own found."""
    command = [sys.executable, "-m", "benchmarks.feed_starts", who, str(source), str(storage)]
    try:
        shown = subprocess.run(
            [*command, str(STORE_MB), str(BATCH), str(WINDOW)], capture_output=True, text=True, check=True
        )
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{who} failed: {error.stderr[-2000:]}") from error
    if who != "fill":
        shutil.rmtree(storage, ignore_errors=True)
    # Ray, on its way out, may print something after it.
    line = next(line for line in reversed(shown.stdout.splitlines()) if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found
