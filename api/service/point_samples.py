"""Curves of long runs that nobody has read yet, from a sample of their journals.

Each point is one of the whole too: what was undone by a rewind is left out. They are not spaced quite evenly,
and a value that only a few steps have may be missing.
"""

from collections import OrderedDict
from contextlib import suppress
from threading import Lock
from typing import Any, Final

from api.service.point_columns import MemoryColumns
from api.service.point_curves import curves
from api.service.point_index import Segment, segments_of_metrics
from api.service.point_table import NotNumbers, PointTable
from api.service.points_asked import Aggregate, Asked
from orchestrator.domain.errors import StorageError
from orchestrator.domain.journal_sample import sample_journal
from orchestrator.domain.run_directory import RunDirectory

LONG: Final = 64 << 10
"""Bytes of a journal; a shorter one is read whole in milliseconds."""
_RECORDS_A_POINT: Final = 3
_MOST_DRAWN: Final = 100
_MOST_KEPT: Final = 1000
Curves = dict[str, list[Any]]


class PointSamples:
    """May be called from several threads."""

    def __init__(self) -> None:
        self._drawn: OrderedDict[tuple[str, Asked], tuple[tuple[Segment, ...], Curves]] = OrderedDict()
        """Small curves, and the journal as it was then."""
        self._lock = Lock()

    def curves(self, run_id: str, run: RunDirectory, asked: Asked) -> Curves | None:
        """None where it must be read whole: it is short, or no sample gives what is asked."""
        if asked.aggregate is not Aggregate.LAST or asked.from_step or asked.to_step is not None:
            return None
        with suppress(StorageError, NotNumbers):  # whoever reads it whole says what is wrong
            segments = segments_of_metrics(run)
            if sum(segment.size for segment in segments) <= LONG:
                return None
            known = self._drawn.get((run_id, asked))
            return known[1] if known and known[0] == segments else self._draw(run_id, run, asked, segments)
        return None

    def _draw(self, run_id: str, run: RunDirectory, asked: Asked, segments: tuple[Segment, ...]) -> Curves:
        count = _RECORDS_A_POINT * asked.max_points
        table = PointTable(MemoryColumns())
        table.take(sample_journal(run.outbox, "metrics", count, all_of="rewind"), lambda: None)
        found = curves(table, asked)
        if asked.max_points <= _MOST_DRAWN:
            with self._lock:
                self._drawn[run_id, asked] = segments, found
                while len(self._drawn) > _MOST_KEPT:
                    self._drawn.popitem(last=False)
        return found
