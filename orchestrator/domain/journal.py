"""Append-only journals: checksummed JSON lines in numbered segment files.

Segment n of a journal is `NAME-00000n.jsonl`. A line is `{"seq":1,"crc":"8hex",...}`; the checksum is the
CRC-32 of the line without its crc field and newline. Sequence numbers start at 1 and have no gaps, across
segments too. One writer appends while any number of readers read: a line counts once its newline is there.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orchestrator.domain.disk import storage_errors, sync_path
from orchestrator.domain.errors import StorageError
from orchestrator.domain.journal_lines import (
    checked,
    number_of,
    parsed,
    segment_path,
    segments_of,
    whole_lines,
)

_MAX_PENDING_BYTES = 1 << 20


class JournalWriter:
    """The one writer of a journal; for one thread.

    It goes on after the last whole line, in a segment of its own: what a crash tore off stays behind, unread.
    That segment also shuts out the writer before: a zombie that wakes up finds it, and writes no more.

    Raises StorageError where the disk fails, the last whole line is broken, or a newer writer took over.
    """

    def __init__(self, folder: Path, name: str, *, max_bytes: int = 8 << 20) -> None:
        self._folder = folder
        self._name = name
        self._max_bytes = max_bytes
        self._pending = bytearray()
        self._descriptor = -1
        with storage_errors("write", folder):
            folder.mkdir(parents=True, exist_ok=True)
            segments = segments_of(folder, name)
            self._seq = _last_seq(segments)
            self._open_segment(number_of(segments[-1]) + 1 if segments else 1)
            if segments:
                # Once more, for the writer before is shut out only now; `sync` will not see its segment.
                self._seq = _last_seq(segments)
                sync_path(segments[-1])

    def append(self, record: Mapping[str, object]) -> int:
        """Adds a record (JSON values; no "seq" or "crc" of its own) and returns its sequence number.

        Costs microseconds: it only fills a buffer, which `flush` hands over (or `append` itself at 1 MiB). A
        record is kept even where that raises StorageError, and the next flush tries again.
        """
        if "seq" in record or "crc" in record:
            raise ValueError(f"the journal itself fills in seq and crc, got {sorted(record)}")
        seq = self._seq + 1
        text = json.dumps({"seq": seq, **record}, separators=(",", ":"))
        cut = len(f'{{"seq":{seq}')
        self._pending += f'{text[:cut]},"crc":"{zlib.crc32(text.encode()):08x}"{text[cut:]}\n'.encode()
        self._seq = seq
        if len(self._pending) >= _MAX_PENDING_BYTES:
            self.flush()
        return seq

    def flush(self) -> None:
        """Hands what was appended to the operating system: readers see it, and a kill cannot undo it."""
        with storage_errors("write", self._path):
            if self._next_path.exists():
                raise StorageError(
                    f"a newer writer took over the journal {self._name} in {self._folder}",
                    hint="the newer attempt owns the run; stop this one",
                )
            while self._pending:
                num_bytes = os.write(self._descriptor, self._pending)
                del self._pending[:num_bytes]
                self._size += num_bytes
            if self._size >= self._max_bytes:
                self._rotate()

    def sync(self) -> None:
        """Flushes and waits for the disk (milliseconds): a power cut cannot undo it either."""
        self.flush()
        with storage_errors("write", self._path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Flushes and closes; the second time it does nothing."""
        if self._descriptor < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def last_seq(self) -> int:
        """The sequence number of the newest record, 0 for an empty journal."""
        return self._seq

    def _rotate(self) -> None:
        finished = self._descriptor
        os.fsync(finished)  # `sync` will see the next segment only
        self._open_segment(self._number + 1)
        os.close(finished)

    def _open_segment(self, number: int) -> None:
        path = segment_path(self._folder, self._name, number)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
        self._path, self._next_path = path, segment_path(self._folder, self._name, number + 1)
        self._number, self._size = number, 0
        sync_path(self._folder)


def read_journal(folder: Path, name: str, *, after_seq: int = 0) -> Iterator[dict[str, Any]]:
    """Yields the records after `after_seq` in order, each with its "seq"; none where there is no journal.

    A last line without its newline is not there yet. Memory: one segment at a time. Raises StorageError,
    naming file and line, where a line is broken or a sequence number is missing.
    """
    segments = segments_of(folder, name)
    start = _segment_of(segments, after_seq + 1)
    expected = 1 if start == 0 else None
    for path in segments[start:]:
        for number, line in enumerate(whole_lines(path), start=1):
            seq, text = checked(line, path, number)
            if expected is not None and expected != seq:
                raise _missing(path, number, expected, seq)
            expected = seq + 1
            if seq > after_seq:
                yield json.loads(text)


class JournalReader:
    """Follows a journal: asking where nothing is new costs two looks at the folder, however long it is.

    It remembers where its last answer began and ended, so that both going on and asking again are cheap.
    """

    def __init__(self, folder: Path, name: str, start: "Mark | None" = None) -> None:
        """`start` is a mark of an earlier reader, whose journal this still is."""
        self._folder = folder
        self._name = name
        self._marks: dict[int, Mark] = {} if start is None else {start.seq or 0: start}

    def mark(self, seq: int) -> "Mark | None":
        """The place behind record `seq`, where the last answer began or ended with it."""
        return self._marks.get(seq)

    def read(self, after_seq: int, limit: int = 1000) -> list[dict[str, Any]]:
        """At most `limit` records after `after_seq`, in order. Raises StorageError as `read_journal` does."""
        first = self._marks.get(after_seq) or self._find(after_seq)
        if first is None:
            return []
        mark = first
        records: list[dict[str, Any]] = []
        while True:
            # The order matters: what a segment holds is final only once its successor is there.
            following = segment_path(self._folder, self._name, mark.number + 1)
            final = following.exists()
            mark = self._read_segment(mark, records, after_seq, limit)
            if not final or len(records) == limit:
                break
            mark = Mark(mark.number + 1, 0, 0, mark.seq)
        self._marks = {after_seq: first, records[-1]["seq"] if records else after_seq: mark}
        return records

    def _find(self, after_seq: int) -> "Mark | None":
        segments = segments_of(self._folder, self._name)
        if not segments:
            return None
        index = _segment_of(segments, after_seq + 1)
        mark = Mark(number_of(segments[index]), 0, 0, 0 if index == 0 else None)
        for line in whole_lines(segments[index]):
            seq, _ = checked(line, segments[index], mark.lines + 1)
            if seq > after_seq:
                break
            mark = mark.after(line, seq)
        return mark

    def _read_segment(
        self, mark: "Mark", records: list[dict[str, Any]], after_seq: int, limit: int
    ) -> "Mark":
        path = segment_path(self._folder, self._name, mark.number)
        with storage_errors("read", path):
            if path.stat().st_size <= mark.offset:
                return mark
            with path.open("rb") as file:
                file.seek(mark.offset)
                lines = file.read().split(b"\n")[:-1]
        offset, num_lines, newest = mark.offset, mark.lines, mark.seq
        for line in lines:
            if len(records) == limit:
                break
            seq, text = checked(line, path, num_lines + 1)
            if newest is not None and seq != newest + 1:
                raise _missing(path, num_lines + 1, newest + 1, seq)
            offset, num_lines, newest = offset + len(line) + 1, num_lines + 1, seq
            if seq > after_seq:
                records.append(parsed(text))
        return Mark(mark.number, offset, num_lines, newest)


@dataclass(frozen=True)
class Mark:
    """A place between two lines."""

    number: int
    """Of the segment; `offset` and `lines` are what lies before the place in it."""
    offset: int
    lines: int
    seq: int | None
    """Of the newest record before the place; None where nobody looked."""

    def after(self, line: bytes, seq: int) -> "Mark":
        return Mark(self.number, self.offset + len(line) + 1, self.lines + 1, seq)


def _segment_of(segments: list[Path], seq: int) -> int:
    """The index of the segment in which record `seq` is or would be; only first lines are read."""
    for index in range(len(segments) - 1, 0, -1):
        with storage_errors("read", segments[index]), segments[index].open("rb") as file:
            line = file.readline()
        if line.endswith(b"\n") and checked(line[:-1], segments[index], 1)[0] <= seq:
            return index
    return 0


def _missing(path: Path, number: int, expected: int, found: int) -> StorageError:
    return StorageError(f"{path}:{number}: record {expected} is missing, found record {found}")


def _last_seq(segments: list[Path]) -> int:
    for segment in reversed(segments):
        lines = whole_lines(segment)
        if lines:
            return checked(lines[-1], segment, len(lines))[0]
    return 0
