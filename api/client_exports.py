"""An export as it comes from the service: a tar archive, unpacked while it arrives."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import ServiceUnreachable


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
