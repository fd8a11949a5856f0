"""Those who wait, by queue: a round of the scheduler looks at the first of each."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "runs_by_queue",
        "runs",
        ["status", "queue", sa.text("priority DESC"), "queued", "id", "gang_claim"],
    )


def downgrade() -> None:
    op.drop_index("runs_by_queue", "runs")
