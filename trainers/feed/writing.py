"""One writer at a time: how a process sees to it that a store is whole."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from trainers.feed.filling import Blocks, fill_store
from trainers.feed.scan import Scan
from trainers.feed.segments import Manifest, SegmentEntry, SegmentStore

_NAP_S: Final = 0.2


def fill(
    scan: Scan, folder: Path, blocks: Blocks, on_segment: Callable[[SegmentEntry], None] | None = None
) -> Manifest:
    """See to it that the store in `folder` is whole: write what it lacks, or, while another process does
    that, wait for it.

    Raises DataError and StorageError, as `fill_store` does.
    """
    store = SegmentStore(folder)
    while not store.lock.acquire():
        if store.manifest is not None and not store.gaps():
            return store.manifest
        time.sleep(_NAP_S)
    try:
        return fill_store(store, scan, blocks, on_segment)
    finally:
        store.close()
