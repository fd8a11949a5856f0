"""Connections to the SQLite file of the record, and what its failures are called."""

import errno
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, ProgrammingError

from orchestrator.domain.errors import DiskFull, StorageError

_BUSY_MS: Final = 5000
"""How long to wait for another process that writes."""
_CACHE_KIB: Final = 16 * 1024
_WAL_PAGES: Final = 16_000
"""Of 4 KiB: how far the log may grow until the writer copies it itself; the checkpointer comes before."""
_FULL_BYTES: Final = 1 << 20
"""With less room than this, any failure of the disk is put down to it."""
_NOT_OF_THE_DISK: Final = (IntegrityError, InterfaceError, ProgrammingError)


def path_of(url: str) -> Path:
    """The file that a database URL names. Raises StorageError for anything but a file of SQLite."""
    expected = "expected the URL of an SQLite file such as sqlite:////var/lib/tumbler/tumbler.db"
    try:
        parts = make_url(url)
    except ArgumentError:
        raise StorageError(f"{expected}, got '{url}'") from None
    if parts.drivername != "sqlite" or parts.database in (None, "", ":memory:"):
        raise StorageError(f"{expected}, got '{parts.render_as_string(hide_password=True)}'")
    return Path(str(parts.database))


def writing(path: Path) -> Engine:
    """For one thread. What is committed survives a power cut; a transaction waits for other writers first."""
    return _engine(
        path,
        "BEGIN IMMEDIATE",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"cache_size = -{_CACHE_KIB}",
        f"wal_autocheckpoint = {_WAL_PAGES}",
        f"journal_size_limit = {_WAL_PAGES * 4096}",
    )


def migrating(path: Path) -> Engine:
    """Without foreign keys: a table that is made anew would take the rows that point to it with it."""
    return _engine(path, "BEGIN IMMEDIATE", "journal_mode = WAL", "synchronous = FULL")


def reading(path: Path, num_threads: int) -> Engine:
    return _engine(path, "BEGIN", "query_only = ON", pool_size=num_threads)


def _engine(path: Path, begin: str, *pragmas: str, pool_size: int = 1) -> Engine:
    engine = create_engine(f"sqlite:///{path}", pool_size=pool_size, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _: Any) -> None:
        # Else the driver begins and commits by itself, and leaves DDL out of transactions.
        connection.isolation_level = None
        for pragma in (f"busy_timeout = {_BUSY_MS}", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def is_of_the_disk(error: Exception) -> bool:
    """Whether the disk or the file failed, rather than what was asked of it."""
    if isinstance(error, DBAPIError):
        return not isinstance(error, _NOT_OF_THE_DISK)
    return isinstance(error, OSError | StorageError)


def storage_error(error: Exception, path: Path) -> StorageError:
    """A new StorageError for what `is_of_the_disk`: each of those who wait needs one of its own."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if _is_full(cause, path):
        full = DiskFull(
            f"the disk of {path} is full, so nothing can be recorded",
            hint="free some space there; nothing that was acknowledged is lost, and it goes on by itself",
        )
        full.__cause__ = error
        return full
    failed = StorageError(
        f"the record in {path} cannot be used: {cause}",
        hint="check that the disk is there, that this user may write to it and that the file is Tumbler's",
    )
    failed.__cause__ = error
    return failed


def _is_full(cause: BaseException | None, path: Path) -> bool:
    match cause:
        case sqlite3.Error():
            if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                return True
        case OSError():
            if cause.errno in (errno.ENOSPC, errno.EDQUOT):
                return True
        case _:
            return False
    try:
        return shutil.disk_usage(path.parent).free < _FULL_BYTES
    except OSError:
        return False
