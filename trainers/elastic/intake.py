"""How rows come to the steps of a worker: ahead of time where that can be, and what waiting for them cost."""

import time
from collections.abc import Callable
from typing import Any, Final

from orchestrator.domain.order import BatchPlan
from trainers.feed.row_order import RowOrder
from trainers.feed.run_feed import RunFeed
from trainers.feed.segments import SegmentStore
from trainers.task import Rows

_STEPS_AHEAD: Final = 2
_NAP_S: Final = 0.01


class Intake:
    """The rows of each step, by logical shard.

    Rows that know `prefetch` are told a few steps ahead what this worker will want of them.
    """

    def __init__(self, rows: Rows, plan: BatchPlan, feed: RunFeed | None = None) -> None:
        self._rows = rows
        self._plan = plan
        self._order = RowOrder(plan)
        self._filling = SegmentStore(feed.folder) if feed is not None and not feed.complete else None
        self._prefetch = getattr(rows, "prefetch", None)
        self._indices: dict[tuple[int, int], list[int]] = {}
        self._waited_s = 0.0

    def await_step(self, step: int, called_away: Callable[[], bool]) -> bool:
        """Wait until a feed that is still at work has brought all rows of a step, also those of other
        workers.

        All workers wait for the same row, so that none of them keeps the others waiting inside the sum.
        False when called away meanwhile.
        """
        if self._filling is None:
            return True
        begun = time.perf_counter()
        last = max(row for shard in range(self._plan.logical_shards) for row in self._planned(step, shard))
        while not self._there(last):
            if called_away():
                return False
            time.sleep(_NAP_S)
        self._waited_s += time.perf_counter() - begun
        return True

    def look_ahead(self, step: int, owned: tuple[int, int]) -> None:
        """Let the rows of the next steps be made ready; forget those of steps before."""
        for key in [key for key in self._indices if key[0] < step]:
            del self._indices[key]
        if self._prefetch is not None:
            ahead = [
                row
                for later in range(step + 1, step + 1 + _STEPS_AHEAD)
                for shard in range(*owned)
                for row in self._planned(later, shard)
            ]
            self._prefetch(ahead)

    def take(self, step: int, shard: int) -> list[Any]:
        """The rows of one shard of a step, in order; may be empty."""
        begun = time.perf_counter()
        rows = [self._rows[row] for row in self._planned(step, shard)]
        self._waited_s += time.perf_counter() - begun
        return rows

    def waited_s(self) -> float:
        """Seconds spent on waiting for rows and fetching them since it was asked last."""
        waited, self._waited_s = self._waited_s, 0.0
        return waited

    def _planned(self, step: int, shard: int) -> list[int]:
        rows = self._indices.get((step, shard))
        if rows is None:
            rows = self._indices[step, shard] = self._order.rows(step, shard)
        return rows

    def _there(self, row: int) -> bool:
        assert self._filling is not None
        entries = self._filling.entries()
        there = bool(entries) and row < entries[-1].first_row + entries[-1].num_rows
        if self._filling.complete:
            self._filling = None  # all are there from now on
            return True
        return there
