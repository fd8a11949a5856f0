"""What the workers of a run printed, read from `logs/ATTEMPT-WORKER.log` of its run directory.

A cursor holds how far each file was read, so that following costs only what is new.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import BadCursor
from orchestrator.domain.run_directory import RunDirectory

_NAME: Final = re.compile(r"(\d{1,9})-(.+)\.log")
_MOST_BYTES: Final = 4 << 20
"""Read for one answer, over all files."""

Line = dict[str, Any]
"""`worker`, `attempt`, `text`."""


@dataclass(frozen=True)
class LogQuery:
    worker: str | None = None
    """All of them where it is None."""
    attempt: int | None = None
    tail: int = 200
    """Lines: the last of each worker or, with a cursor, the next of all together."""
    containing: str = ""
    ended: bool = False
    """Nobody writes any more: a last line without its newline is a line too."""


@dataclass
class LogCursor:
    """How far each file was read; of older attempts than `attempt` nothing more is wanted."""

    attempt: int = 0
    offsets: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        content = json.dumps([self.attempt, self.offsets], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "LogCursor":
        """Raises BadCursor."""
        try:
            content = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
            attempt, offsets = json.loads(content)
            return cls(int(attempt), {str(name): max(0, int(offset)) for name, offset in offsets.items()})
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error):
            raise BadCursor(
                "this is no cursor of a log", hint="leave out `since` to begin with the newest lines"
            ) from None


def last_lines(run: RunDirectory, query: LogQuery, newest_attempt: int) -> tuple[list[Line], LogCursor]:
    """The last lines of each worker of one attempt, the newest by default. Raises StorageError."""
    attempt = query.attempt or newest_attempt
    files = [found for found in _files(run) if found.attempt == attempt and _wanted(found, query)]
    lines: list[Line] = []
    cursor = LogCursor(attempt)
    for found in files:
        content, end = _end_of(found.path, _MOST_BYTES // len(files), query.ended)
        texts = [text for text in _texts(content) if query.containing in text]
        lines += [found.line(text) for text in (texts[-query.tail :] if query.tail else [])]
        cursor.offsets[found.path.name] = end
    return lines, cursor


def next_lines(run: RunDirectory, query: LogQuery, cursor: LogCursor) -> tuple[list[Line], LogCursor]:
    """Whole lines after the cursor, those of later attempts too unless one is named. Raises StorageError."""
    lines: list[Line] = []
    after = LogCursor(cursor.attempt, dict(cursor.offsets))
    room = _MOST_BYTES
    for found in _files(run):
        wanted = found.attempt == query.attempt if query.attempt else found.attempt >= cursor.attempt
        if not wanted or not _wanted(found, query):
            continue
        offset = after.offsets.get(found.path.name, 0)
        for raw in _lines_after(found.path, offset, room, query.ended):
            if len(lines) >= query.tail:
                break
            offset += len(raw)
            room -= len(raw)
            text = raw.decode(errors="replace").rstrip("\r\n")
            if query.containing in text:
                lines.append(found.line(text))
        after.offsets[found.path.name] = offset
    return lines, after


@dataclass(frozen=True)
class _File:
    path: Path
    attempt: int
    worker: str

    def line(self, text: str) -> Line:
        return {"worker": self.worker, "attempt": self.attempt, "text": text}


def _files(run: RunDirectory) -> list[_File]:
    with storage_errors("read", run.logs):
        if not run.logs.is_dir():
            return []
        found = [(path, _NAME.fullmatch(path.name)) for path in run.logs.iterdir()]
    files = [_File(path, int(match[1]), match[2]) for path, match in found if match]
    return sorted(files, key=lambda file: (file.attempt, file.worker))


def _wanted(file: _File, query: LogQuery) -> bool:
    return query.worker is None or file.worker == query.worker


def _end_of(path: Path, num_bytes: int, ended: bool) -> tuple[bytes, int]:
    """The last lines of a file and where they end; a line that is being written is left for later."""
    with storage_errors("read", path), path.open("rb") as file:
        size = file.seek(0, 2)
        begin = max(0, size - num_bytes)
        file.seek(begin)
        content = file.read(size - begin)
    end = len(content) if ended else content.rfind(b"\n") + 1
    return content[content.find(b"\n") + 1 if begin else 0 : end], begin + end


def _lines_after(path: Path, offset: int, num_bytes: int, ended: bool) -> list[bytes]:
    """With their newlines. What fills the room without an end counts as one, or nobody would get past it."""
    with storage_errors("read", path), path.open("rb") as file:
        file.seek(min(offset, file.seek(0, 2)))
        content = file.read(max(0, num_bytes))
    lines = _kept(content)
    torn = bool(lines) and not lines[-1].endswith(b"\n")
    return lines[:-1] if torn and not ended and (len(lines) > 1 or len(content) < num_bytes) else lines


def _kept(content: bytes) -> list[bytes]:
    """Only a newline ends a line: progress bars write carriage returns."""
    *whole, rest = content.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def _texts(content: bytes) -> list[str]:
    return [line.decode(errors="replace").rstrip("\r\n") for line in _kept(content)]
