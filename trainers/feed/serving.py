"""The rows of a task out of a store: in a run from the store that its feed fills, elsewhere from one that is
filled here and now."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orchestrator.domain.errors import DataError
from trainers.feed.filling import local_blocks, store_folder
from trainers.feed.recipe import Recipe
from trainers.feed.rows import FeedRows, feed_rows
from trainers.feed.run_feed import RunFeed, pinned_scan
from trainers.feed.scan import scan
from trainers.feed.segments import SegmentStore
from trainers.feed.writing import fill

_NAP_S: Final = 0.02
_MEND_AFTER_NAPS: Final = 25


def rows_of_run(feed: RunFeed, validation_fraction: float) -> tuple[FeedRows, FeedRows | None]:
    """Training and validation rows of a run; what its feed has not brought yet is waited for, and a segment
    that was damaged since is made again. Raises DataError."""
    num_rows = feed.num_rows if feed.num_rows is not None else SegmentStore(feed.folder).num_rows
    if num_rows is None:
        raise DataError(f"{feed.folder} is not complete, so nobody knows how many rows the run has")
    return feed_rows(
        feed.folder,
        num_rows,
        validation_fraction,
        patience_s=math.inf,  # the controller sees whether the feed lives
        on_wait=mending(feed),
    )


def rows_prepared_here(
    recipe: Recipe, storage: Path, validation_fraction: float
) -> tuple[FeedRows, FeedRows | None]:
    """The same rows without a run: what the store lacks is made in this process. Raises DataError."""
    found = scan(recipe, storage)
    folder = store_folder(found, storage)
    manifest = fill(found, folder, local_blocks(found, folder))
    return feed_rows(folder, manifest.num_rows, validation_fraction)


def mending(feed: RunFeed) -> Callable[[int], None]:
    """What to do while a segment is waited for: nap, and now and then look whether it is missing from a
    store that is complete. Then nobody else brings it, so it is made again here."""
    naps = 0

    def wait(number: int) -> None:
        nonlocal naps
        time.sleep(_NAP_S)
        naps += 1
        if naps % _MEND_AFTER_NAPS:
            return
        store = SegmentStore(feed.folder)
        if store.complete and store.gaps():
            known = pinned_scan(feed.run_folder)
            fill(known, feed.folder, local_blocks(known, feed.folder))

    return wait
