"""Alembic, run from code: there is no alembic.ini, so that it works from wherever the package lies."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection


def settings() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config


def upgrade(connection: Connection) -> None:
    """Runs the migrations that are due, in the transaction that `connection` is in."""
    config = settings()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
