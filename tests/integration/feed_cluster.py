"""Fill a store through Ray Data on a Ray of its own: `python -m tests.integration.feed_cluster SOURCE STORAGE
NUM_CPUS FEED_CPUS`; prints the checksums of the segments."""

import json
import os
import sys
from pathlib import Path

import ray

from orchestrator.domain.spec_training import DataSpec
from trainers.feed.filling import store_folder
from trainers.feed.pipeline import Claim, ray_blocks
from trainers.feed.recipe import recipe_of
from trainers.feed.scan import scan
from trainers.feed.segments import SegmentStore
from trainers.feed.writing import fill


def segments(data: DataSpec, storage: Path, feed_cpus: float, context: int | None) -> list[str]:
    """Fill a store in the Ray that this process is connected to."""
    found = scan(recipe_of(data, context), storage)
    folder = store_folder(found, storage)
    fill(found, folder, ray_blocks(found, folder, Claim(cpus=feed_cpus)))
    return [entry.sha256 for entry in SegmentStore(folder).entries()]


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(
        address="local",
        num_cpus=int(sys.argv[3]),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    data = DataSpec(source=sys.argv[1], format="jsonl")
    print(json.dumps(segments(data, Path(sys.argv[2]), float(sys.argv[4]), None)))
