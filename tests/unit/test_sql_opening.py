"""How the database of the record is opened, made and brought up to date."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from orchestrator.domain.errors import RunNotFound, StorageError
from orchestrator.store.engines import migrating
from orchestrator.store.migrations import upgrade
from orchestrator.store.sql import SqlRecord
from orchestrator.store.tables import HEAD, METADATA
from tests.unit.records import new, url


def tables(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "tumbler.db") as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


async def test_a_record_is_still_there_when_it_is_opened_again(tmp_path: Path) -> None:
    record = SqlRecord.open(url(tmp_path / "deep" / "down"))
    added = await record.add(new())
    await record.close()
    again = SqlRecord.open(url(tmp_path / "deep" / "down"))
    assert await again.find("run-1") == added.run
    await again.close()


async def test_two_services_may_use_one_file(tmp_path: Path) -> None:
    one, other = SqlRecord.open(url(tmp_path)), SqlRecord.open(url(tmp_path))
    await one.add(new(1))
    await other.add(new(2))
    assert (await one.find("run-2")).id == "r0002"
    assert await one.take_lease("one", now_s=100.0, ttl_s=5.0) == 1
    assert await other.take_lease("other", now_s=101.0, ttl_s=5.0) is None
    await one.close()
    await other.close()


async def test_a_closed_record_says_so_and_may_be_closed_again(tmp_path: Path) -> None:
    record = SqlRecord.open(url(tmp_path))
    await record.close()
    await record.close()
    with pytest.raises(StorageError, match="is closed"):
        await record.add(new())


@pytest.mark.parametrize(
    "wrong", ["postgresql://ada:secret@host/db", "sqlite://", "sqlite:///:memory:", "tumbler.db", ""]
)
def test_only_a_file_of_sqlite_is_accepted_and_no_password_is_shown(wrong: str) -> None:
    with pytest.raises(StorageError, match="expected the URL of an SQLite file such as") as caught:
        SqlRecord.open(wrong)
    assert "secret" not in str(caught.value)


def test_a_database_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    SqlRecord.open(url(tmp_path))
    with sqlite3.connect(tmp_path / "tumbler.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match="later version of Tumbler: its tables are at 9999") as caught:
        SqlRecord.open(url(tmp_path))
    assert "upgrade Tumbler" in caught.value.hint
    assert "runs" in tables(tmp_path)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tumbler.db").write_text("thesis\n" * 999)
    with pytest.raises(StorageError, match=r"tumbler\.db cannot be used: file is not a database"):
        SqlRecord.open(url(tmp_path))
    assert (tmp_path / "tumbler.db").read_text().startswith("thesis")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot be used: .*Not a directory"):
        SqlRecord.open(url(tmp_path / "file" / "below"))


async def test_a_table_that_is_gone_is_an_error_of_the_storage_for_readers_too(tmp_path: Path) -> None:
    record = SqlRecord.open(url(tmp_path))
    with sqlite3.connect(tmp_path / "tumbler.db") as connection:
        connection.execute("DROP TABLE events")
    with pytest.raises(StorageError, match="no such table: events"):
        await record.events("r0001")
    with pytest.raises(StorageError, match="no such table: events"):
        await record.add(new())
    with pytest.raises(RunNotFound):
        await record.find("run-1")
    await record.close()


def test_an_up_to_date_database_is_opened_without_importing_the_migrations(tmp_path: Path) -> None:
    """It would take longer than all the rest of a start."""
    code = (
        "import sys; from orchestrator.store.sql import SqlRecord; SqlRecord.open(sys.argv[1]);"
        "print([name for name in sys.modules if 'alembic' in name or 'migrations' in name])"
    )
    SqlRecord.open(url(tmp_path))
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code, url(tmp_path)], cwd=root, check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "[]"


def test_the_migrations_lead_to_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    SqlRecord.open(url(tmp_path))
    with migrating(tmp_path / "tumbler.db").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_the_indexes_are_those_that_the_code_counts_on(tmp_path: Path) -> None:
    """What `compare_metadata` does not see: conditions, directions and tables without row ids."""

    def statements(path: Path) -> set[str]:
        with sqlite3.connect(path) as connection:
            found = connection.execute("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'alembic%'")
            return {"".join((sql or "").replace('"', "").split()).lower() for (sql,) in found}

    SqlRecord.open(url(tmp_path))
    METADATA.create_all(migrating(tmp_path / "other.db"))
    assert statements(tmp_path / "tumbler.db") == statements(tmp_path / "other.db")


def test_the_newest_migration_is_the_head_and_all_have_numbers_of_four_digits() -> None:
    scripts = ScriptDirectory.from_config(upgrade.settings())
    assert scripts.get_heads() == [HEAD]
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert all(len(revision) == 4 and revision.isdigit() for revision in revisions)


def test_a_migration_can_be_taken_back(tmp_path: Path) -> None:
    SqlRecord.open(url(tmp_path))
    config = upgrade.settings()
    with migrating(tmp_path / "tumbler.db").begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert tables(tmp_path) == ["alembic_version"]
    SqlRecord.open(url(tmp_path))
    assert "runs" in tables(tmp_path)
