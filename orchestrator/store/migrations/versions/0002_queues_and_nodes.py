"""What queues may hold, and what was said of nodes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, key in (("queues", "name"), ("nodes", "id")):
        op.create_table(
            name,
            sa.Column(key, sa.String, primary_key=True),
            sa.Column("body", sa.Text, nullable=False),
            sqlite_with_rowid=False,
        )


def downgrade() -> None:
    for name in ("nodes", "queues"):
        op.drop_table(name)
