"""The tables of the record, as the newest migration leaves them.

What is filtered or sorted by has a column of its own; the rest of a row is one JSON object, `body`. A change
here needs a migration under `migrations/versions` and a new HEAD; a test compares the two.
"""

from typing import Final

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

HEAD: Final = "0003"
"""The newest migration. Revisions are numbers of four digits, so that a later one compares greater."""

METADATA: Final = MetaData()


def _run_id() -> Column[str]:
    return Column("run_id", String, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


RUNS: Final = Table(
    "runs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("status", String, nullable=False),
    Column("queue", String, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created", String, nullable=False),
    Column("queued", String, nullable=False),
    Column("updated", String, nullable=False),
    Column("ended", String),
    Column("not_before", String),
    Column("gang_claim", String, nullable=False),
    Column("idempotency_key", String),
    Column("body_sha256", String),
    Column("spec", Text, nullable=False),
    Column("body", Text, nullable=False),
)
HAS_ENDED: Final = text("ended IS NOT NULL")
HAS_KEY: Final = text("idempotency_key IS NOT NULL")

_c = RUNS.c
Index("runs_by_status", _c.status, _c.created, _c.id)
Index("runs_by_created", _c.created, _c.id)
Index("runs_by_priority", _c.priority, _c.id)
Index("runs_by_updated", _c.updated, _c.id)
Index("runs_by_turn", _c.status, _c.priority.desc(), _c.queued, _c.id, _c.gang_claim, _c.not_before)
Index("runs_by_queue", _c.status, _c.queue, _c.priority.desc(), _c.queued, _c.id, _c.gang_claim)
Index("runs_by_ended", _c.ended, sqlite_where=HAS_ENDED, postgresql_where=HAS_ENDED)
Index("runs_by_key", _c.idempotency_key, unique=True, sqlite_where=HAS_KEY, postgresql_where=HAS_KEY)

LABELS: Final = Table(
    "labels",
    METADATA,
    _run_id(),
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
    Index("labels_by_value", "name", "value", "run_id"),
    sqlite_with_rowid=False,
)

EVENTS: Final = Table(
    "events",
    METADATA,
    _run_id(),
    Column("seq", Integer, primary_key=True),
    Column("time", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("facts", Text, nullable=False),
    sqlite_with_rowid=False,
)

ATTEMPTS: Final = Table(
    "attempts",
    METADATA,
    _run_id(),
    Column("number", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)

DRIVERS: Final = Table(
    "drivers",
    METADATA,
    _run_id(),
    Column("attempt", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)

GENERATIONS: Final = Table(
    "generations",
    METADATA,
    _run_id(),
    Column("attempt", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)

LEASES: Final = Table(
    "leases",
    METADATA,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("token", Integer, nullable=False),
    Column("until_s", Float, nullable=False),
)
"""At most one row; it stays when the lease is dropped, so that tokens go on growing."""

QUEUES: Final = Table(
    "queues",
    METADATA,
    Column("name", String, primary_key=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Those that somebody set a quota or weight for; every other has neither."""

NODES: Final = Table(
    "nodes",
    METADATA,
    Column("id", String, primary_key=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Those that somebody cordoned or drains."""
