"""From the blocks of all files, one after the other, to the tables of the segments."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from trainers.feed.packing import TOKENS, Packer
from trainers.feed.segment_file import segment_bytes
from trainers.feed.segments import Origin

FILE: Final = "__file"
"""First column of a block: the number of the file that the row came from."""
_SEGMENT_BYTES: Final = 4 << 20
_MOST_ROWS: Final = 10_000
_SAMPLE: Final = 64


class Cut(NamedTuple):
    """The rows of one segment, and where they came from."""

    table: pa.Table
    start: Origin
    end: Origin


class Cutter(Protocol):
    """Cuts segments that do not depend on how the rows came in blocks."""

    def add(self, block: pa.Table) -> Iterator[Cut]:
        """The segments that the next block completes."""
        ...

    def finish(self) -> Iterator[Cut]:
        """What is left when all blocks were there."""
        ...


class PackedCutter:
    """Segments of packed rows; starts at `origin`, the first row of a segment."""

    def __init__(
        self, context: int, rows_per_segment: int, vocabulary: int, end_of_text: int, origin: Origin
    ) -> None:
        self._packer = Packer(context, rows_per_segment, vocabulary, end_of_text)
        self._trail = _Trail(origin, context * rows_per_segment)
        self._to_drop = origin.offset

    def add(self, block: pa.Table) -> Iterator[Cut]:
        for batch in block.to_batches():
            for file, pieces in _by_file(batch):
                tokens = pieces.column(TOKENS).flatten().to_numpy()
                dropped = min(self._to_drop, len(tokens))
                self._to_drop -= dropped
                self._trail.saw(file, len(tokens) - dropped)
                for table in self._packer.add(tokens[dropped:]):
                    yield self._trail.cut(table)

    def finish(self) -> Iterator[Cut]:
        table = self._packer.finish()
        if table is not None:
            yield self._trail.cut(table)


class RowCutter:
    """Segments of rows as they are; starts at `origin`, the first row of a segment."""

    def __init__(self, rows_per_segment: int, origin: Origin) -> None:
        self._rows = rows_per_segment
        self._trail = _Trail(origin, rows_per_segment)
        self._to_drop = origin.offset
        self._held: list[pa.RecordBatch] = []
        self._num_held = 0

    def add(self, block: pa.Table) -> Iterator[Cut]:
        for batch in block.to_batches():
            for file, rows in _by_file(batch):
                dropped = min(self._to_drop, rows.num_rows)
                self._to_drop -= dropped
                self._trail.saw(file, rows.num_rows - dropped)
                self._held.append(rows.drop_columns([FILE]).slice(dropped))
                self._num_held += rows.num_rows - dropped
        while self._num_held >= self._rows:
            yield self._cut(self._rows)

    def finish(self) -> Iterator[Cut]:
        if self._num_held:
            yield self._cut(self._num_held)

    def _cut(self, num_rows: int) -> Cut:
        held = pa.Table.from_batches(self._held)
        rest = held.slice(num_rows)
        self._held, self._num_held = rest.to_batches(), rest.num_rows
        return self._trail.cut(held.slice(0, num_rows))


def rows_of_packed_segment(context: int, vocabulary: int) -> int:
    """How many packed rows make a segment: as many as fit 4 MiB, at most 10,000."""
    width = 2 if vocabulary <= 1 << 16 else 4
    return max(1, min(_MOST_ROWS, _SEGMENT_BYTES // ((context + 1) * width)))


def rows_of_segment(blocks: Iterator[pa.Table]) -> tuple[int, list[pa.Table]]:
    """How many rows as they are make a segment, judged by the first 64; and the blocks read for that."""
    seen: list[pa.Table] = []
    num_rows = 0
    while num_rows < _SAMPLE and (block := next(blocks, None)) is not None:
        seen.append(block)
        num_rows += block.num_rows
    if not num_rows:
        return 1, seen
    sample = pa.concat_tables(seen).drop_columns([FILE]).slice(0, _SAMPLE).combine_chunks()
    # As it will be written: what lies in memory depends on how the rows came.
    size = segment_bytes(sample).size
    return max(1, min(_MOST_ROWS, _SEGMENT_BYTES * sample.num_rows // size)), seen


class _Trail:
    """Which file each place of the stream came from, and how far the cuts are."""

    def __init__(self, origin: Origin, units_per_segment: int) -> None:
        self._marks = [(0, origin)]
        """(units seen before it, the place) of the first unit of each file since the last cut."""
        self._seen = 0
        self._cut_at = 0
        self._step = units_per_segment

    def saw(self, file: int, num_units: int) -> None:
        if file != self._marks[-1][1].file:
            self._marks.append((self._seen, Origin(file=file)))
        self._seen += num_units

    def cut(self, table: pa.Table) -> Cut:
        start = self._place(self._cut_at)
        self._cut_at = min(self._cut_at + self._step, self._seen)
        end = self._place(self._cut_at)
        self._marks = [mark for mark in self._marks[:-1] if mark[0] >= self._cut_at] + self._marks[-1:]
        if self._marks[0][0] > self._cut_at:
            self._marks.insert(0, (self._cut_at, end))
        return Cut(table, start, end)

    def _place(self, at: int) -> Origin:
        before, origin = next(mark for mark in reversed(self._marks) if mark[0] <= at)
        return Origin(file=origin.file, offset=origin.offset + at - before)


def _by_file(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    files = batch.column(FILE).to_numpy()
    borders = [0, *(np.flatnonzero(np.diff(files)) + 1).tolist(), len(files)]
    for begin, end in pairwise(borders):
        if end > begin:
            yield int(files[begin]), batch.slice(begin, end - begin)
