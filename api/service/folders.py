"""Which names are taken by run directories, without a look at the disk for each submit.

A look lets go of the interpreter, and under load other threads give it back only milliseconds later: at a
thousand submits a second the looks alone would cost more than all the rest.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_LASTS_S: Final = 0.2
"""A directory made within that time is not seen here; the run that meets it says so when it starts."""
_MOST_STORAGES: Final = 100


@dataclass
class _Listing:
    looked_at: float
    stamp: int | None
    """When the folder last changed, by its own clock; None where there is none."""
    names: frozenset[str]


class TakenNames:
    """What lies in the storages that runs are submitted to."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._listings: dict[str, _Listing] = {}

    async def has(self, storage: str, name: str) -> bool:
        now = self._monotonic()
        listing = self._listings.get(storage)
        if listing is None or now - listing.looked_at > _LASTS_S:
            if listing is not None:
                listing.looked_at = now  # whoever comes meanwhile goes by what is known
            listing = await asyncio.to_thread(_look, storage, listing, now)
            if len(self._listings) >= _MOST_STORAGES:
                self._listings.clear()
            self._listings[storage] = listing
        # It may have been removed since.
        return name in listing.names and os.path.lexists(os.path.join(storage, name))


def _look(storage: str, known: _Listing | None, now: float) -> _Listing:
    try:
        stamp = os.stat(storage).st_mtime_ns
        if known is not None and known.stamp == stamp:
            return _Listing(now, stamp, known.names)
        return _Listing(now, stamp, frozenset(os.listdir(storage)))
    except OSError:  # not there yet, or no folder: what is wrong with it shows when the run starts
        return _Listing(now, None, frozenset())
