"""Whole-file replacement, and disk failures told in one sentence."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from orchestrator.domain.errors import DiskFull, StorageError

_FULL = "free some space there, or set {setting} to another disk"
_DENIED = "give this user write access, or set {setting} to a folder it may write to"
_OTHER = "check that the disk is there, or set {setting} to another"
_FIXES = MappingProxyType(
    {
        errno.ENOSPC: _FULL,
        errno.EDQUOT: _FULL,
        errno.EACCES: _DENIED,
        errno.EPERM: _DENIED,
        errno.EROFS: _DENIED,
        errno.ENOTDIR: "a file stands where a folder must be: move it, or choose another {setting}",
    }
)


@contextlib.contextmanager
def storage_errors(action: str, path: Path, *, setting: str = "checkpoint.storage") -> Iterator[None]:
    """Turns an OSError of the body into StorageError `cannot ACTION PATH: REASON`, with the fix as its hint;
    into DiskFull where that is the reason. `setting` of the spec is where another place is named.
    """
    try:
        yield
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, _OTHER).format(setting=setting)
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        raise kind(f"cannot {action} {path}: {error.strerror or error}", hint=fix) from error


def is_disk_trouble(error: StorageError) -> bool:
    """Whether the disk failed, and not what stands on it."""
    return isinstance(error.__cause__, OSError)


def replace_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replaces the content of `path`, so that readers find the old text or the new one and nothing between.

    `durable` waits until it would survive a power cut (milliseconds). Raises StorageError.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with storage_errors("write", path):
        try:
            with aside.open("w", encoding="utf-8") as file:
                file.write(text)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        if durable:
            sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Makes a file, or the entries of a folder, survive a power cut where the file system can do that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems refuse to sync a folder, and do it unasked.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
