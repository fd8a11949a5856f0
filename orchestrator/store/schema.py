"""Brings the database up to the tables that this version knows."""

from pathlib import Path
from typing import Final

from sqlalchemy import Engine, column, select, table
from sqlalchemy.engine import Connection

from orchestrator.domain.errors import StorageError
from orchestrator.store.tables import HEAD

_VERSION: Final = table("alembic_version", column("version_num"))


def migrate(engine: Engine, path: Path) -> None:
    """Runs the migrations that are due, all of them or none. `engine` is one that `engines.migrating` made.

    Raises StorageError for a database of a later version.
    """
    with engine.connect() as connection:
        version = _version(connection)
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise StorageError(
            f"{path} was written by a later version of Tumbler: its tables are at {version}, and this one"
            f" knows them up to {HEAD}",
            hint="upgrade Tumbler, or name another database",
        )
    # Imported where it is needed: it takes longer than the rest of a start.
    from orchestrator.store.migrations.upgrade import upgrade

    with engine.begin() as connection:
        # Another process may have been quicker.
        if _version(connection) != HEAD:
            upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, _VERSION.name):
        return None
    found: str | None = connection.scalar(select(_VERSION.c.version_num))
    return found
