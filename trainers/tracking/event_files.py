"""TensorBoard's event files: one event for each record of the journal of metrics.

So the file itself says how far it came, whatever killed its writer: nothing is doubled and nothing is left
out. What a rewind undid, TensorBoard drops by the start of a session at the step after it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.disk import storage_errors
from orchestrator.domain.status import RunStatus
from trainers.tracking.event_format import FILE_VERSION, framed, read_frames, scalars, session_start
from trainers.tracking.tracker import Metrics, numbers_of

_NAME: Final = "events.out.tfevents.{:010d}.tumbler"
_MOST_BYTES: Final = 64 << 20


class EventFiles:
    """Writes into a folder of its own; one writer at a time."""

    def __init__(self, folder: Path, *, max_bytes: int = _MOST_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._descriptor = -1
        self._seq = 0

    def open(self) -> int:
        """Raises StorageError. What a kill tore off the newest file is cut off."""
        with storage_errors("write", self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            newest = max(self._folder.glob("events.out.tfevents.*"), default=None)
            if newest is None:
                self._begin(1)
                return 0
            num_events, size = _whole(newest)
            if num_events == 0:  # not even its own first line
                newest.unlink()
                self._begin(_first_of(newest))
                return self._seq
            self._descriptor = os.open(newest, os.O_WRONLY | os.O_APPEND)
            os.ftruncate(self._descriptor, size)
            self._size = size
            self._seq = _first_of(newest) - 1 + num_events - 1
        return self._seq

    def tell(self, records: Metrics) -> None:
        with storage_errors("write", self._folder):
            for record in records:
                if self._size >= self._max_bytes:
                    self.close()
                    self._begin(record["seq"])
                self._append(_event_of(record))
                self._seq = record["seq"]

    def finish(self, status: RunStatus) -> None:
        """Files of TensorBoard do not say how a run ended."""
        with storage_errors("write", self._folder):
            os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin(self, first_seq: int) -> None:
        path = self._folder / _NAME.format(first_seq)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
        self._size, self._seq = 0, first_seq - 1
        self._append(FILE_VERSION)

    def _append(self, event: bytes) -> None:
        frame = framed(event)
        view = memoryview(frame)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._size += len(frame)


def _whole(path: Path) -> tuple[int, int]:
    """How many whole events there are, and where the last of them ends."""
    ends = [end for _, end in read_frames(path)]
    return len(ends), ends[-1] if ends else 0


def _first_of(path: Path) -> int:
    return int(path.name.split(".")[3])


def _event_of(record: Mapping[str, Any]) -> bytes:
    step = int(record.get("step", 0))
    if record.get("kind") in ("rewind", "attempt"):
        return session_start(step + 1)
    return scalars(step, float(record.get("time", 0.0)), numbers_of(record))
