"""The content of a source file, never another one than was scanned."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, Final

from orchestrator.domain.errors import DataError
from trainers.feed.sources import SourceFile, look_at

_CHUNK: Final = 4 << 20
_IN_MEMORY: Final = 64 << 20
_BUFFER: Final = 1 << 20


def digest(system: Any, file: SourceFile) -> str:
    """SHA-256 of the content. Raises DataError where it cannot be read, or is not of the size it was."""
    found = hashlib.sha256()
    size = 0
    with _reading(file), system.open_input_stream(file.path) as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
            size += len(chunk)
    if size != file.size:
        raise _being_changed(file)
    return found.hexdigest()


@contextmanager
def opened(system: Any, file: SourceFile) -> Iterator[BinaryIO]:
    """The file as it is, open for reading; raises DataError where it cannot be read."""
    with _reading(file), system.open_input_file(file.path) as stream:
        yield io.BufferedReader(_Lent(stream), _BUFFER)


@contextmanager
def verified(system: Any, file: SourceFile, sha256: str) -> Iterator[BinaryIO]:
    """The file with the content that has this digest, checked before the first byte is given out.

    A file of at most 64 MiB is read once and parsed from memory; a larger one is read twice, and whoever
    reads on should ask `unchanged` before he uses what he got.

    Raises DataError where it is gone or holds something else.
    """
    with _reading(file):
        if file.size > _IN_MEMORY:
            if digest(system, file) != sha256 or not unchanged(system, file):
                raise _changed(file)
            with system.open_input_file(file.path) as stream:
                yield io.BufferedReader(_Lent(stream), _BUFFER)
            return
        with system.open_input_stream(file.path) as stream:
            content = stream.read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise _changed(file)
        yield io.BytesIO(content)


def unchanged(system: Any, file: SourceFile) -> bool:
    """Whether a file looks as it did when it was scanned: size, time and inode."""
    try:
        found = look_at(system, file.path)
    except OSError:
        return False
    return replace(found, name=file.name) == SourceFile(
        file.name, file.path, file.size, file.mtime_ns, file.inode
    )


def must_be_unchanged(system: Any, file: SourceFile) -> None:
    """Raises DataError where it is not; costs nothing for a file that was parsed from memory."""
    if file.size > _IN_MEMORY and not unchanged(system, file):
        raise _changed(file)


class _Lent(io.RawIOBase):
    """A file of pyarrow in the shape of Python's; whoever closes it does not close that one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        place: int = self._stream.seek(offset, whence)
        return place

    def tell(self) -> int:
        place: int = self._stream.tell()
        return place

    def readinto(self, buffer: Any) -> int:
        found = self._stream.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


@contextmanager
def _reading(file: SourceFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {file.path}: {error.strerror or error}") from error


def _changed(file: SourceFile) -> DataError:
    return DataError(f"{file.path} has changed since it was scanned", hint="Start again when it is complete.")


def _being_changed(file: SourceFile) -> DataError:
    return DataError(f"{file.path} is being changed while it is read; start again when it is complete")
