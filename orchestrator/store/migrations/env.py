"""What Alembic runs around the migrations; see `upgrade`. Only on a connection that is in a transaction."""

from typing import Any

from alembic import context

from orchestrator.domain.failpoints import reach
from orchestrator.store.tables import METADATA


def _applied(*_: Any, **__: Any) -> None:
    reach("mid-migration")


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    on_version_apply=_applied,
)
context.run_migrations()
