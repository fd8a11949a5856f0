"""The feed: the actor that fills the store of a run through Ray Data."""

import os
from pathlib import Path

from ray.util.placement_group import PlacementGroup

from trainers.feed.pipeline import Claim, ray_blocks
from trainers.feed.run_feed import RunFeed, pinned_scan
from trainers.feed.segments import Manifest
from trainers.feed.writing import fill


class FeedActor:
    """One life of a feed. When it is lost, the next one goes on at the first segment that is missing."""

    def __init__(self, feed: RunFeed, cpus: float, place: PlacementGroup | None) -> None:
        self._feed = feed
        self._claim = Claim(cpus=cpus, place=place)

    def pid(self) -> int:
        return os.getpid()

    def fill(self) -> Manifest:
        """Returns when the store is complete. Raises DataError, StorageError."""
        scan = pinned_scan(self._feed.run_folder)
        return fill(scan, self._feed.folder, ray_blocks(scan, self._feed.folder, self._claim))


def num_segments(folder: Path) -> int:
    """How many segments a store has by now, by a look at its folder alone."""
    return len(list((folder / "segments").glob("*.arrow")))
