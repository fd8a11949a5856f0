"""Follows the metrics journal of one run into a table of points, which a long run keeps in files.

The files are a cache: what they say counts only while the journal before their mark is what it was, and a run
without them is read anew. A cut of power or a kill at any moment leaves files that are right, or none.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from api.service.point_columns import FileColumns, MemoryColumns
from api.service.point_table import PointTable, Shape
from orchestrator.domain.disk import replace_text, storage_errors, sync_path
from orchestrator.domain.errors import StorageError
from orchestrator.domain.journal import JournalReader, Mark
from orchestrator.domain.run_directory import RunDirectory

MOST_IN_MEMORY: Final = 10_000
"""Points; a longer run goes into files."""
SAVED: Final = "index.json"
"""The file that says what was read."""
_NAME: Final = "metrics"
_BATCH: Final = 10_000
_SAVED_EVERY: Final = 8192
"""Records: what came since is read again after a restart, 7 microseconds each."""
_TAIL: Final = 256
"""Bytes before the mark that must be what they were."""
_MOMENT_S: Final = 0.02
_FORMAT: Final = 1


class CacheError(Exception):
    """The files are no use; the journal may well be."""


class Segment(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    inode: int
    size: int
    modified_ns: int


class _Saved(BaseModel):
    """What index.json holds."""

    format: int
    path: str
    segments: tuple[Segment, ...]
    mark: Mark
    tail: str
    count: int
    names: list[str]
    integral: list[bool]


@dataclass
class _Seen:
    """The journal as it was when it was read last."""

    segments: tuple[Segment, ...] = ()
    mark: Mark | None = None
    tail: bytes = b""


class PointIndex:
    """For one thread at a time."""

    table: PointTable

    def __init__(self, run: RunDirectory, folder: Path | None, closed: Event | None = None) -> None:
        """`folder` is for its files alone; without one all is kept in memory. When `closed` is set, reading
        on is given up."""
        self._run = run
        self._folder = folder
        self._closed = closed or Event()
        self._num_begun = 0
        self._seq = 0
        self._unsaved = 0
        self._begin()
        if folder is not None:
            self._load(folder)

    def update(self) -> None:
        """Read what is new. Raises StorageError where the journal is broken, NotNumbers, and CacheError."""
        segments = segments_of_metrics(self._run)
        if segments == self._seen.segments:
            return
        with errors_of_the_cache(self._folder):
            if not self._goes_on(segments):
                self._forget_saved()
                self._begin()
            while records := self._reader.read(self._seq, _BATCH):
                if self._closed.is_set():
                    raise StorageError(
                        f"the points of {self._run.name} are not read any more: the service ends"
                    )
                self.table.take(records, self._forget_saved)
                self._seq = records[-1]["seq"]
                self._unsaved += len(records)
                self._leave_memory()
            self._note(segments)
            if self._unsaved >= _SAVED_EVERY:
                self.save()

    @property
    def version(self) -> tuple[int, int]:
        """Differs when the table does."""
        return self._num_begun, self._seq

    @property
    def num_bytes(self) -> int:
        """Of memory."""
        return self.table.columns.num_bytes

    def save(self) -> None:
        """After that a restart goes on from here; nothing where all is in memory or saved already."""
        columns, mark = self.table.columns, self._seen.mark
        if self._folder is None or not isinstance(columns, FileColumns):
            return
        if mark is None or mark.seq != self._seq or not self._unsaved:
            return
        for number in range(len(self.table.shape.names)):
            sync_path(columns.path(number))
        saved = _Saved(
            format=_FORMAT,
            path=str(self._run.path),
            segments=self._seen.segments,
            mark=mark,
            tail=self._seen.tail.hex(),
            **asdict(self.table.shape),
        )
        replace_text(self._saved_path(self._folder), saved.model_dump_json())
        self._unsaved = 0

    def _begin(self) -> None:
        """With nothing read."""
        self.table = PointTable(MemoryColumns())
        self._reader = JournalReader(self._run.outbox, _NAME)
        self._seen = _Seen()
        self._seq = 0
        self._unsaved = 0
        self._num_begun += 1

    def _load(self, folder: Path) -> None:
        with suppress(OSError, ValidationError):
            saved = _Saved.model_validate_json(self._saved_path(folder).read_bytes())
            if saved.format == _FORMAT and saved.path == str(self._run.path) and saved.mark.seq:
                columns = FileColumns(folder)
                for number in range(len(saved.names)):
                    columns.read(number, saved.count - 1, saved.count)
                self.table = PointTable(columns, Shape(saved.count, saved.names, saved.integral))
                self._reader = JournalReader(self._run.outbox, _NAME, saved.mark)
                self._seen = _Seen(saved.segments, saved.mark, bytes.fromhex(saved.tail))
                self._seq = saved.mark.seq

    def _leave_memory(self) -> None:
        in_memory = isinstance(self.table.columns, MemoryColumns)
        if self._folder is not None and in_memory and self.table.shape.count > MOST_IN_MEMORY:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            self.table = self.table.moved_to(FileColumns(self._folder))

    def _forget_saved(self) -> None:
        """Before what is in the files stops being what was saved."""
        if self._folder is not None and self._saved_path(self._folder).exists():
            self._saved_path(self._folder).unlink()
            sync_path(self._folder)
            self._unsaved = _SAVED_EVERY

    def _goes_on(self, segments: tuple[Segment, ...]) -> bool:
        """Whether what was read is still there as it was, and more behind it."""
        if _follows(self._seen.segments, segments):
            return self._tail() == self._seen.tail
        # A file that is being appended to may show its new time before its new size.
        time.sleep(_MOMENT_S)
        return (
            _follows(self._seen.segments, segments_of_metrics(self._run)) and self._tail() == self._seen.tail
        )

    def _note(self, before: tuple[Segment, ...]) -> None:
        """Of segments that are final the newest look counts, of the last one that before it was read."""
        mark = self._reader.mark(self._seq)
        known = {segment.name: segment for segment in segments_of_metrics(self._run)}
        last = before[-1:]
        final = tuple(known.get(segment.name, segment) for segment in before[:-1])
        self._seen = _Seen((*final, *last), mark)
        self._seen.tail = self._tail()

    def _tail(self) -> bytes:
        mark = self._seen.mark
        if mark is None or mark.offset == 0:
            return b""
        path = self._run.outbox / f"{_NAME}-{mark.number:06d}.jsonl"
        with storage_errors("read", path), path.open("rb") as file:
            begin = max(0, mark.offset - _TAIL)
            file.seek(begin)
            return file.read(mark.offset - begin)

    def _saved_path(self, folder: Path) -> Path:
        return folder / SAVED


def segments_of_metrics(run: RunDirectory) -> tuple[Segment, ...]:
    """As they are now. Raises StorageError."""
    found = []
    with storage_errors("read", run.outbox):
        for path in sorted(run.outbox.glob(f"{_NAME}-*.jsonl"), key=lambda path: (len(path.name), path)):
            stat = os.stat(path)
            found.append(
                Segment(name=path.name, inode=stat.st_ino, size=stat.st_size, modified_ns=stat.st_mtime_ns)
            )
    return tuple(found)


@contextmanager
def errors_of_the_cache(folder: Path | None) -> Iterator[None]:
    """Tells them from those of the journal, which are StorageError of other paths."""
    try:
        yield
    except OSError as error:
        raise CacheError(str(error)) from error
    except StorageError as error:
        if folder is not None and str(folder) in error.message:
            raise CacheError(error.message) from error
        raise


def _follows(known: tuple[Segment, ...], now: tuple[Segment, ...]) -> bool:
    """All segments are what they were, but the last one known may have grown."""
    if not known or len(now) < len(known):
        return not known
    *final, last = known
    grown = now[len(known) - 1]
    same = (grown.name, grown.inode) == (last.name, last.inode)
    return now[: len(final)] == tuple(final) and same and (grown.size > last.size or grown == last)
