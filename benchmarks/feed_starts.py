"""One start in a fresh process: `python -m benchmarks.feed_starts WHO SOURCE STORAGE STORE_MB BATCH WINDOW`.

WHO is `tumbler`, `ray_data` or `fill`; prints one JSON object. All have a Ray of two CPUs with the same
object store, which is there before the clock starts.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.internal_api import get_memory_info_reply, get_state_from_address

from benchmarks.feed_readers import batch_of
from orchestrator.domain.order import BatchPlan
from orchestrator.domain.spec_training import DataSpec
from trainers.elastic.intake import Intake
from trainers.feed.filling import store_folder
from trainers.feed.pipeline import Claim, ray_blocks
from trainers.feed.recipe import recipe_of
from trainers.feed.rows import FeedRows
from trainers.feed.scan import scan
from trainers.feed.segments import SegmentEntry
from trainers.feed.writing import fill

_LOOK_EVERY_S = 0.2


def first_of_ray_data(source: Path, batch: int) -> dict[str, Any]:
    begun = time.perf_counter()
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    next(iter(ray.data.read_parquet(str(source)).iter_batches(batch_size=batch, batch_format="numpy")))
    return {"first_s": time.perf_counter() - begun}


def first_of_tumbler(source: Path, storage: Path, batch: int, window: int) -> dict[str, Any]:
    """From nothing at all: the files are scanned, the feed starts, and the first batch of a plan is taken."""
    begun = time.perf_counter()
    found = scan(recipe_of(DataSpec(source=str(source), format="parquet"), None), storage)
    scanned = time.perf_counter()
    folder = store_folder(found, storage)
    blocks = ray_blocks(found, folder, Claim(cpus=1))
    threading.Thread(target=fill, args=(found, folder, blocks), daemon=True).start()
    assert found.num_rows is not None
    plan = BatchPlan(found.num_rows, batch, 8, 1, window)
    batch_of(Intake(FeedRows(folder, 0, found.num_rows), plan), 1)
    done = time.perf_counter()
    return {"first_s": done - begun, "scan_s": scanned - begun}


def whole_fill(source: Path, storage: Path, store_mb: int) -> dict[str, Any]:
    """The whole corpus through a process that does nothing else; its memory is watched."""
    found = scan(recipe_of(DataSpec(source=str(source), format="parquet"), None), storage)
    folder = store_folder(found, storage)
    claim = Claim(cpus=1, object_store_bytes=(store_mb << 20) // 3)
    begun = time.perf_counter()
    with watching() as seen:
        early: list[float] = []

        def on_segment(entry: SegmentEntry) -> None:
            if not early and entry.first_row > (found.num_rows or 0) / 10:
                early.append(seen.rss_peak_mb)

        manifest = fill(found, folder, ray_blocks(found, folder, claim), on_segment)
    return {
        "folder": str(folder),
        "mb_per_s": manifest.num_bytes / 1e6 / (time.perf_counter() - begun),
        "rss_early_mb": early[0],
        "rss_peak_mb": seen.rss_peak_mb,
        "store_peak_mb": seen.store_peak_mb,
        "spilled_mb": seen.spilled_mb,
    }


@dataclass
class Seen:
    rss_peak_mb: float = 0.0
    """Memory of this process that is not shared with Ray's object store."""
    store_peak_mb: float = 0.0
    spilled_mb: float = 0.0

    def look(self) -> None:
        lines = Path("/proc/self/status").read_text().splitlines()
        anonymous = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
        self.rss_peak_mb = max(self.rss_peak_mb, anonymous / 1000)
        state = get_state_from_address(ray.get_runtime_context().gcs_address)
        stats = get_memory_info_reply(state).store_stats
        self.store_peak_mb = max(self.store_peak_mb, stats.object_store_bytes_used / 1e6)
        self.spilled_mb = stats.spilled_bytes_total / 1e6


@contextmanager
def watching() -> Iterator[Seen]:
    seen, over = Seen(), threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY_S):
            seen.look()

    seen.look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def main(who: str, source: Path, storage: Path, store_mb: int, batch: int, window: int) -> dict[str, Any]:
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=store_mb << 20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    if who == "ray_data":
        return first_of_ray_data(source, batch)
    if who == "tumbler":
        return first_of_tumbler(source, storage, batch, window)
    return whole_fill(source, storage, store_mb)


if __name__ == "__main__":
    name, source, storage, *numbers = sys.argv[1:]
    print(json.dumps(main(name, Path(source), Path(storage), *map(int, numbers))), flush=True)
    ray.shutdown()
    os._exit(0)  # without waiting for what the first batch did not need
