"""Journals that show when they were tampered with: each record carries a running hash of all up to itself.

The checksum of a line catches damage to that line, and the sequence numbers a line that is gone. They do not
catch who changes, drops, doubles or reorders lines and puts both right again, nor a tail that is cut off. The
seal of a record is BLAKE2b (128 bits) of the seal before and its own content, so all that follow a change are
wrong; and the status file of the run acknowledges the newest record with its seal, the tip, so a lost tail
is missed. Who rewrites all of a journal and the status file too is found by nobody but who kept a copy.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.disk import is_disk_trouble
from orchestrator.domain.errors import StorageError
from orchestrator.domain.journal import JournalWriter, read_journal

SEAL: Final = "seal"
_NOT_SEALED: Final = frozenset({"seq", SEAL})
_canonical: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class Tip(BaseModel):
    """The newest record of a journal."""

    model_config = ConfigDict(frozen=True)

    seq: int = 0
    """0 for an empty journal."""
    seal: str = ""


def seal(previous: str, record: Mapping[str, Any]) -> str:
    """The seal (32 hex digits) of a record that follows one with the seal `previous`, "" for the first."""
    content = {name: value for name, value in record.items() if name not in _NOT_SEALED}
    return hashlib.blake2b((previous + _canonical(content)).encode(), digest_size=16).hexdigest()


class SealedWriter:
    """The one writer of a sealed journal; goes on where the one before ended, as JournalWriter does.

    `replay` is given each record that is there. Raises StorageError.
    """

    def __init__(
        self, folder: Path, name: str, *, replay: Callable[[Mapping[str, Any]], None] = lambda record: None
    ) -> None:
        self._writer = JournalWriter(folder, name)
        self._seal = ""
        for record in read_journal(folder, name):
            self._seal = record.get(SEAL, "")
            replay(record)
        self.tip = Tip(seq=self._writer.last_seq, seal=self._seal)
        """The newest record that was handed to the operating system."""

    def append(self, record: Mapping[str, Any]) -> None:
        self._seal = seal(self._seal, record)
        self._writer.append({**record, SEAL: self._seal})

    def flush(self) -> None:
        self._writer.flush()
        self.tip = Tip(seq=self._writer.last_seq, seal=self._seal)

    def sync(self) -> None:
        self._writer.sync()
        self.tip = Tip(seq=self._writer.last_seq, seal=self._seal)

    def close(self) -> None:
        self._writer.close()


def newest_tip(folder: Path, name: str) -> Tip:
    """Raises StorageError where the journal is broken."""
    tip = Tip()
    for record in read_journal(folder, name):
        tip = Tip(seq=record["seq"], seal=record.get(SEAL, ""))
    return tip


class SealedReader:
    """Reads a journal and finds what is wrong with it, up to the first thing that hides the rest."""

    def __init__(self, folder: Path, name: str, acknowledged: Tip, *, closed: bool) -> None:
        """`acknowledged` is the tip that the status file names; `closed` says that nothing may follow it."""
        self._folder = folder
        self._name = name
        self._acknowledged = acknowledged
        self._closed = closed
        self.problems: list[str] = []

    def records(self) -> Iterator[dict[str, Any]]:
        """The records that can be read, forged ones too; `problems` is complete after the last one.

        Raises StorageError only where the disk itself fails.
        """
        tip = Tip()
        try:
            for record in read_journal(self._folder, self._name):
                tip = self._checked(tip.seal, record)
                yield record
        except StorageError as error:
            if is_disk_trouble(error):
                raise
            self.problems.append(f"the {self._name} is damaged: {error}")
            return
        self._check_end(tip.seq)

    def _checked(self, previous: str, record: Mapping[str, Any]) -> Tip:
        tip = Tip(seq=record["seq"], seal=record.get(SEAL, ""))
        if tip.seal != seal(previous, record):
            self._tell_once(
                f"the {self._name} was tampered with: record {tip.seq} does not follow from those before it"
            )
        if tip.seq == self._acknowledged.seq and tip.seal != self._acknowledged.seal:
            self.problems.append(
                f"the {self._name} was tampered with: record {tip.seq} is not the one that the status names"
            )
        return tip

    def _tell_once(self, problem: str) -> None:
        # Each seal is checked against the one before as it stands there: one change is one problem.
        if not self.problems:
            self.problems.append(problem)

    def _check_end(self, last_seq: int) -> None:
        known = self._acknowledged.seq
        if last_seq < known:
            self.problems.append(
                f"the {self._name} lost its tail: it ends at record {last_seq}, the status names {known}"
            )
        if self._closed and last_seq > known:
            self.problems.append(
                f"the {self._name} goes on after the run had ended, from record {known + 1} on"
            )
