"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _runs()
    op.create_table(
        "labels",
        _run_id(),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("labels_by_value", "labels", ["name", "value", "run_id"])
    op.create_table(
        "events",
        _run_id(),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    for name, keys in (
        ("attempts", ("number",)),
        ("drivers", ("attempt", "number")),
        ("generations", ("attempt", "number")),
    ):
        op.create_table(
            name,
            _run_id(),
            *(sa.Column(key, sa.Integer, primary_key=True) for key in keys),
            sa.Column("body", sa.Text, nullable=False),
            sqlite_with_rowid=False,
        )
    op.create_table(
        "leases",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("until_s", sa.Float, nullable=False),
    )


def downgrade() -> None:
    for name in ("leases", "generations", "drivers", "attempts", "events", "labels", "runs"):
        op.drop_table(name)


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("queue", sa.String, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created", sa.String, nullable=False),
        sa.Column("queued", sa.String, nullable=False),
        sa.Column("updated", sa.String, nullable=False),
        sa.Column("ended", sa.String),
        sa.Column("not_before", sa.String),
        sa.Column("gang_claim", sa.String, nullable=False),
        sa.Column("idempotency_key", sa.String),
        sa.Column("body_sha256", sa.String),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("runs_by_status", "runs", ["status", "created", "id"])
    op.create_index("runs_by_created", "runs", ["created", "id"])
    op.create_index("runs_by_priority", "runs", ["priority", "id"])
    op.create_index("runs_by_updated", "runs", ["updated", "id"])
    op.create_index(
        "runs_by_turn",
        "runs",
        ["status", sa.text("priority DESC"), "queued", "id", "gang_claim", "not_before"],
    )
    _partial_index("runs_by_ended", "ended IS NOT NULL", "ended")
    _partial_index("runs_by_key", "idempotency_key IS NOT NULL", "idempotency_key", unique=True)


def _partial_index(name: str, condition: str, *columns: str | sa.TextClause, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, "runs", [*columns], unique=unique, sqlite_where=where, postgresql_where=where)


def _run_id() -> sa.Column[str]:
    return sa.Column("run_id", sa.String, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
