"""The one thread that writes: group commit, and what happens where the disk or one request fails."""

import asyncio
import errno
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from orchestrator.domain.errors import DiskFull, StorageError
from orchestrator.domain.runs import Change
from orchestrator.ports.record import Added
from orchestrator.store import sql_writes
from orchestrator.store.engines import storage_error, writing
from orchestrator.store.sql import SqlRecord
from orchestrator.store.writer import NewRun, Writer
from tests.unit.records import happened, new, run, url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    SqlRecord.open(url(tmp_path))
    return tmp_path / "tumbler.db"


@pytest.fixture
def engine(path: Path) -> Engine:
    return writing(path)


@pytest.fixture
async def writer(engine: Engine, path: Path) -> AsyncIterator[Writer]:
    writer = Writer(engine, path, sql_writes.add_all)
    yield writer
    await asyncio.to_thread(writer.close)


def stored(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM runs ORDER BY id")]


@contextmanager
def held_up(writer: Writer) -> Iterator[None]:
    """What is asked for meanwhile waits, and is served together afterwards."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: Connection) -> None:
        begun.set()
        go_on.wait()

    writer.do(wait)
    begun.wait()
    try:
        yield
    finally:
        go_on.set()


async def test_all_that_waits_is_committed_at_once(writer: Writer, engine: Engine, path: Path) -> None:
    commits: list[Connection] = []
    event.listen(engine, "commit", commits.append)
    with held_up(writer):
        waiting = [writer.add(NewRun(new(number), None)) for number in range(1, 101)]
        changed = writer.do(
            lambda connection: sql_writes.change(
                connection, "r0001", lambda run: Change(run.with_(priority=9)), None
            )
        )
        waiting += [writer.add(NewRun(new(number), None)) for number in range(101, 151)]
    added = await asyncio.gather(*waiting)
    assert len(commits) == 2
    assert [answer.run.name for answer in added] == [f"run-{number}" for number in range(1, 151)]
    assert (await changed).priority == 9
    assert len(stored(path)) == 150


async def test_an_answer_comes_after_the_commit(writer: Writer, path: Path) -> None:
    answer = writer.add(NewRun(new(), None))
    seen: list[list[str]] = []
    answer.add_done_callback(lambda _: seen.append(stored(path)))
    await answer
    await asyncio.to_thread(lambda: None)
    assert seen == [["run-1"]]


def test_what_is_committed_survives_a_power_cut(engine: Engine) -> None:
    with engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert pragmas == ["wal", 2, 1, 5000]


async def test_one_that_cannot_be_written_does_not_take_others_along(writer: Writer, path: Path) -> None:
    no_text = "\ud800"
    no_json = Change(run(3), (happened("bad fact", worker=object()),))
    with held_up(writer):
        waiting = [
            writer.add(NewRun(change, None))
            for change in (new(1), new(2, labels={"a": no_text}), no_json, new(4))
        ]
    answers: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
    kinds = [type(answer) for answer in answers]
    assert kinds == [Added, UnicodeEncodeError, TypeError, Added]
    assert stored(path) == ["run-1", "run-4"]


async def test_work_that_raises_undoes_what_it_wrote_itself_and_no_more(writer: Writer, path: Path) -> None:
    def fail(connection: Connection) -> None:
        connection.exec_driver_sql("DELETE FROM runs")
        raise LookupError("no such thing")

    with held_up(writer):
        before, failed = writer.add(NewRun(new(1), None)), writer.do(fail)
        after = writer.add(NewRun(new(2), None))
    with pytest.raises(LookupError, match="no such thing"):
        await failed
    await asyncio.gather(before, after)
    assert stored(path) == ["run-1", "run-2"]


async def test_what_a_caller_gave_up_on_is_written_all_the_same(writer: Writer, path: Path) -> None:
    with held_up(writer):
        given_up = writer.add(NewRun(new(1), None))
        given_up.cancel()
        other = writer.add(NewRun(new(2), None))
    await other
    assert stored(path) == ["run-1", "run-2"]


async def test_closing_serves_what_was_asked_for_before(engine: Engine, path: Path) -> None:
    writer = Writer(engine, path, sql_writes.add_all)
    waiting = [writer.add(NewRun(new(number), None)) for number in range(1, 21)]
    await asyncio.to_thread(writer.close)
    assert len(await asyncio.gather(*waiting)) == 20
    with pytest.raises(StorageError, match="is closed"):
        writer.add(NewRun(new(21), None))


async def test_many_clients_at_once_each_get_their_run(tmp_path: Path) -> None:
    record = SqlRecord.open(url(tmp_path))

    async def client(number: int) -> list[Added]:
        return [await record.add(new(number * 100 + turn)) for turn in range(10)]

    answers = await asyncio.gather(*(client(number) for number in range(1, 21)))
    assert len({added.run.id for some in answers for added in some}) == 200
    assert len(stored(tmp_path / "tumbler.db")) == 200
    await record.close()


class SmallDisk:
    """A quota for the database: `max_pages` of it."""

    def __init__(self) -> None:
        self.max_pages = 1 << 30

    def apply(self, connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {self.max_pages}")


async def test_a_full_disk_is_one_sentence_and_it_goes_on_when_there_is_room(path: Path) -> None:
    disk, engine = SmallDisk(), writing(path)
    event.listen(engine, "connect", disk.apply)
    writer = Writer(engine, path, sql_writes.add_all)
    await writer.add(NewRun(new(1), None))
    disk.max_pages = 1  # the smallest that SQLite takes is what is used already
    engine.dispose()
    huge = "x" * 50_000
    with held_up(writer):
        waiting = [writer.add(NewRun(new(number, message=huge), None)) for number in (2, 3)]
    answers: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [DiskFull, DiskFull]
    assert answers[0] is not answers[1]
    assert "is full" in answers[0].message
    assert "free some space" in answers[0].hint
    assert stored(path) == ["run-1"]
    disk.max_pages = 1 << 30
    engine.dispose()
    await writer.add(NewRun(new(2, message=huge), None))
    assert stored(path) == ["run-1", "run-2"]
    await asyncio.to_thread(writer.close)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_ways_in_which_a_system_says_that_a_disk_is_full(path: Path, number: int) -> None:
    assert isinstance(storage_error(OSError(number, "no room"), path), DiskFull)


def test_a_failure_of_a_disk_without_room_is_put_down_to_that(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))
    error = storage_error(failed, path)
    assert not isinstance(error, DiskFull)
    assert "cannot be used: disk I/O error" in error.message
    monkeypatch.setattr("orchestrator.store.engines._FULL_BYTES", 1 << 60)
    assert isinstance(storage_error(failed, path), DiskFull)
