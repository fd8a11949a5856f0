"""Many bytes on their way: an export, a tar archive unpacked as it arrives; a package in pieces."""

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import ServiceUnreachable

Heard = Callable[[int], None]
"""Told of so many more bytes."""
_PIECE: Final = 1 << 18


def unheard(num_bytes: int) -> None:
    """Nobody wants to know."""


def unpack(chunks: Iterator[bytes], folder: Path) -> None:
    """The files of an archive into a folder. Raises ServiceUnreachable where it is cut off or is none;
    StorageError."""
    stream = cast("io.RawIOBase", _Stream(chunks))
    try:
        with storage_errors("write to", folder), tarfile.open(fileobj=stream, mode="r|") as archive:
            archive.extractall(folder, filter="data")
        for _ in chunks:  # what is left must come too: then the connection was whole
            pass
    except tarfile.TarError as error:
        raise ServiceUnreachable(f"the export did not come whole: {error}", hint="try it again") from error


def told(chunks: Iterator[bytes], came: Heard) -> Iterator[bytes]:
    """The same, with somebody told how many bytes each has."""
    for chunk in chunks:
        came(len(chunk))
        yield chunk


class Pieces:
    """A body that goes piece by piece, again from its beginning where it has to be sent again."""

    def __init__(self, content: bytes, went: Heard) -> None:
        self._content = content
        self._went = went

    def __iter__(self) -> Iterator[bytes]:
        with memoryview(self._content) as whole:
            for begin in range(0, len(whole), _PIECE):
                piece = bytes(whole[begin : begin + _PIECE])
                yield piece
                self._went(len(piece))


class _Stream:
    """What tarfile reads from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, size: int) -> bytes:
        """As many bytes, fewer only at the end."""
        pieces = [self._left]
        have = len(self._left)
        while have < size and (chunk := next(self._chunks, None)) is not None:
            pieces.append(chunk)
            have += len(chunk)
        whole = b"".join(pieces)
        self._left = whole[size:]
        return whole[:size]
