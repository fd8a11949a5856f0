"""A store of rows: numbered, checksummed segments, and a journal of them as index.

    STORAGE/.datasets/FINGERPRINT/
        head.json            how the rows are cut into segments
        tokenizer.json       a tokenizer that was trained for it
        segments/000000.arrow ...
        index-000001.jsonl   a line per segment, written after it
        manifest.json        written last: the store is complete
        failed.json          why the last one who filled it gave up

One writer at a time, any number of readers. All that is written is a function of the fingerprint, so a writer
that goes on where another died, and one that repairs, write the same bytes again.
"""

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.domain.disk import replace_text, storage_errors
from orchestrator.domain.errors import DataError, StorageError
from orchestrator.domain.journal import JournalReader, JournalWriter
from orchestrator.domain.json_files import read_model
from trainers.feed.folder_lock import FolderLock
from trainers.feed.segment_file import read_segment, segment_bytes, sha256_of, write_whole

STORE_FORMAT: Final = 1
_INDEX: Final = "index"
_HEAD: Final = "head.json"
_MANIFEST: Final = "manifest.json"
_FAILED: Final = "failed.json"


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Stored):
    """A place in what the files give, one after the other."""

    file: int = 0
    """Number in the scan's list of files."""
    offset: int = 0
    """Tokens (packed rows) or rows that this file gives before the place."""


class SegmentEntry(_Stored):
    """One line of the index."""

    number: int
    first_row: int
    num_rows: int
    size: int
    """Bytes."""
    sha256: str
    start: Origin
    """Where its first row came from."""
    end: Origin
    """Where the first row of the next one comes from."""


class StoreHead(_Stored):
    """What is known before the first segment."""

    format: int = STORE_FORMAT
    fingerprint: str
    rows_per_segment: int
    """Of every segment but the last, which may be shorter."""
    context: int | None
    """Of packed rows."""


class Manifest(_Stored):
    """What a complete store holds."""

    format: int = STORE_FORMAT
    fingerprint: str
    num_rows: int
    num_segments: int
    num_bytes: int
    """Of all segments."""
    about: dict[str, Any]
    """What it was made of: recipe, files, what was skipped."""


class SegmentStore:
    """The store in one folder, for one process; `lock` must be held to write.

    Raises StorageError where the disk fails or the index is broken.
    """

    def __init__(self, folder: Path, *, stale_after_s: float = 30.0) -> None:
        self.folder = folder
        self.lock = FolderLock(folder / ".lock", stale_after_s=stale_after_s)
        self._segments = folder / "segments"
        self._reader = JournalReader(folder, _INDEX)
        self._seq = 0
        self._entries: list[SegmentEntry] = []
        self._writer: JournalWriter | None = None
        self._head: StoreHead | None = None
        self._manifest: Manifest | None = None

    @property
    def fingerprint(self) -> str:
        return self.folder.name

    @property
    def head(self) -> StoreHead | None:
        """None until `begin`."""
        if self._head is None and (self.folder / _HEAD).exists():
            self._head = read_model(self.folder / _HEAD, StoreHead)
        return self._head

    @property
    def manifest(self) -> Manifest | None:
        """None until `finish`."""
        if self._manifest is None and (self.folder / _MANIFEST).exists():
            self._manifest = read_model(self.folder / _MANIFEST, Manifest)
        return self._manifest

    @property
    def complete(self) -> bool:
        """All segments are written; one may have been damaged since, see `gaps`."""
        return self.manifest is not None

    @property
    def num_rows(self) -> int | None:
        """None until it is complete."""
        return self.manifest.num_rows if self.manifest else None

    @property
    def failure(self) -> str | None:
        """Why the last one who filled it gave up, None while nobody did."""
        try:
            return str(json.loads((self.folder / _FAILED).read_text())["error"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(f"cannot read {self.folder / _FAILED}: {error}") from error

    def entries(self) -> Sequence[SegmentEntry]:
        """The segments that were written so far, by number; asking again costs two looks at the folder."""
        while records := self._reader.read(self._seq):
            for record in records:
                self._take(SegmentEntry.model_validate(record["segment"]))
                self._seq = record["seq"]
        return self._entries

    def path(self, number: int) -> Path:
        return self._segments / f"{number:06d}.arrow"

    def read(self, entry: SegmentEntry, *, check: bool = True) -> pa.Table:
        """The rows of a segment; with `check`, only after its checksum agreed.

        Raises DataError where it is missing or damaged; a damaged one is set aside, so that `gaps` names it.
        """
        path = self.path(entry.number)
        try:
            return read_segment(path, entry.sha256 if check else None)
        except FileNotFoundError:
            raise DataError(f"the segment {path} is missing") from None
        except DataError:
            self._set_aside(path)
            raise

    def gaps(self) -> list[SegmentEntry]:
        """Segments of the index that are not there, or not in their size."""
        return [entry for entry in self.entries() if _size(self.path(entry.number)) != entry.size]

    def verify(self) -> list[SegmentEntry]:
        """Reads everything; the segments that are missing or damaged, which are set aside."""
        bad = []
        for entry in self.entries():
            try:
                self.read(entry)
            except DataError:
                bad.append(entry)
        return bad

    def begin(self, rows_per_segment: int, context: int | None) -> StoreHead:
        """Says how rows are cut, or finds that it was said; what an earlier writer said counts."""
        if self.head is None:
            head = StoreHead(fingerprint=self.fingerprint, rows_per_segment=rows_per_segment, context=context)
            with storage_errors("write", self.folder):
                self._segments.mkdir(parents=True, exist_ok=True)
            replace_text(self.folder / _HEAD, head.model_dump_json() + "\n")
            self._head = head
        assert self._head is not None
        return self._head

    def append(self, table: pa.Table, start: Origin = Origin(), end: Origin = Origin()) -> SegmentEntry:  # noqa: B008
        """Writes the next segment: first the file, whole and durable, then its line in the index."""
        self._check_lock()
        entries = self.entries()
        number = len(entries)
        content = segment_bytes(table)
        entry = SegmentEntry(
            number=number,
            first_row=entries[-1].first_row + entries[-1].num_rows if entries else 0,
            num_rows=table.num_rows,
            size=content.size,
            sha256=sha256_of(content),
            start=start,
            end=end,
        )
        write_whole(self.path(number), content)
        if self._writer is None:
            self._writer = JournalWriter(self.folder, _INDEX)
        self._writer.append({"segment": entry.model_dump()})
        self._writer.sync()
        self.entries()
        return entry

    def rebuild(self, entry: SegmentEntry, table: pa.Table) -> None:
        """Writes a segment of the index anew. Raises DataError where it came out otherwise than before."""
        self._check_lock()
        content = segment_bytes(table)
        if sha256_of(content) != entry.sha256:
            raise DataError(
                f"the segment {self.path(entry.number)} is damaged, and what its sources give now is not what"
                " it held",
                hint="data.transform must give the same rows for the same file each time.",
            )
        write_whole(self.path(entry.number), content)

    def finish(self, about: dict[str, Any]) -> Manifest:
        """Declares the store complete; `about` says what it was made of (JSON values)."""
        self._check_lock()
        entries = self.entries()
        manifest = Manifest(
            fingerprint=self.fingerprint,
            num_rows=sum(entry.num_rows for entry in entries),
            num_segments=len(entries),
            num_bytes=sum(entry.size for entry in entries),
            about=about,
        )
        replace_text(self.folder / _MANIFEST, manifest.model_dump_json(indent=2) + "\n")
        self._manifest = manifest
        return manifest

    def fail(self, sentence: str) -> None:
        """Tells readers that nobody fills it any more, and why."""
        with storage_errors("write", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        replace_text(self.folder / _FAILED, json.dumps({"error": sentence}) + "\n", durable=False)

    def take_over(self) -> None:
        """What the holder of the lock does first: an earlier failure is past, a broken index begins anew."""
        self._check_lock()
        (self.folder / _FAILED).unlink(missing_ok=True)
        try:
            _ = (self.entries(), self.head, self.manifest)
        except (StorageError, ValidationError):
            self._start_over()

    def close(self) -> None:
        """Closes the index and gives the lock back."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self.lock.release()

    def _take(self, entry: SegmentEntry) -> None:
        if entry.number == len(self._entries):
            self._entries.append(entry)

    def _check_lock(self) -> None:
        if not self.lock.is_held:
            raise StorageError(
                f"another process writes {self.folder} now ({self.lock.owner or 'it is gone'})",
                hint="It goes on with the same rows; read them from there.",
            )

    def _set_aside(self, path: Path) -> None:
        with storage_errors("set aside", path):
            path.replace(path.with_name(f"{path.name}.damaged"))

    def _start_over(self) -> None:
        aside = self.folder / f".broken-{uuid.uuid4().hex}"
        with storage_errors("set aside the index of", self.folder):
            aside.mkdir()
            index = self.folder.glob(f"{_INDEX}-*.jsonl")
            for path in (*index, self.folder / _HEAD, self.folder / _MANIFEST):
                if path.exists():
                    os.replace(path, aside / path.name)
        self._reader, self._seq, self._entries = JournalReader(self.folder, _INDEX), 0, []
        self._head = self._manifest = None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
