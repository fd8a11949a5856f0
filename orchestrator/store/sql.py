"""The record in an SQLite file: one writer with group commit, and readers that never wait for it."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection

from orchestrator.domain.errors import StorageError
from orchestrator.domain.node_marks import NodeMark
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Attempt, Change, Driver, GenerationRow, Run, RunEvent
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import Added, Decide, IdempotencyKey, RunPage, RunQuery
from orchestrator.store import sql_nodes, sql_reads, sql_writes
from orchestrator.store.checkpointer import Checkpointer
from orchestrator.store.engines import is_of_the_disk, migrating, path_of, reading, storage_error, writing
from orchestrator.store.schema import migrate
from orchestrator.store.writer import NewRun, Writer

_NUM_READERS: Final = 4
_PRUNED_AT_ONCE: Final = 200
"""So that nobody waits long behind it."""
_P = ParamSpec("_P")
_T = TypeVar("_T")


class SqlRecord:
    """Implements orchestrator.ports.record.Record. Several processes may use one file."""

    def __init__(self, path: Path) -> None:
        """Trusts that the tables are there; `open` makes them."""
        self._path = path
        self._writer = Writer(writing(path), path, sql_writes.add_all)
        self._checkpointer = Checkpointer(path, self._writer)
        self._engine = reading(path, _NUM_READERS)
        self._readers = ThreadPoolExecutor(_NUM_READERS, thread_name_prefix="record-reader")

    @classmethod
    def open(cls, url: str) -> Self:
        """Opens or makes the database of a URL, and brings its tables up to date.

        Raises StorageError: for a URL that is not of a file of SQLite, a file that is no database or was
        written by a later version, and where the disk fails.
        """
        path = path_of(url)
        engine: Engine | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            engine = migrating(path)
            migrate(engine, path)
        except StorageError:
            raise
        except Exception as error:
            if is_of_the_disk(error):
                raise storage_error(error, path) from error
            raise
        finally:
            if engine is not None:
                engine.dispose()
        return cls(path)

    async def add(self, new: Change, key: IdempotencyKey | None = None) -> Added:
        return await self._writer.add(NewRun(new, key))

    async def change(self, run_id: str, decide: Decide, *, lease: int | None = None) -> Run:
        return await self._write(sql_writes.change, run_id, decide, lease)

    async def remove(self, run_id: str, check: Callable[[Run], None]) -> Run:
        return await self._write(sql_writes.remove, run_id, check)

    async def node_marks(self) -> Mapping[str, NodeMark]:
        return await self._read(sql_nodes.node_marks)

    async def put_node_mark(self, mark: NodeMark) -> None:
        await self._write(sql_nodes.put_node_mark, mark)

    async def drop_node_mark(self, node_id: str) -> None:
        await self._write(sql_nodes.drop_node_mark, node_id)

    async def take_lease(self, holder: str, *, now_s: float, ttl_s: float) -> int | None:
        return await self._write(sql_writes.take_lease, holder, now_s, ttl_s)

    async def drop_lease(self, holder: str) -> None:
        await self._write(sql_writes.drop_lease, holder)

    async def prune(self, *, ended_before: str) -> list[str]:
        pruned: list[str] = []
        while some := await self._write(sql_writes.prune_runs, ended_before, _PRUNED_AT_ONCE):
            pruned += some
        while await self._write(sql_writes.prune_keys, ended_before, _PRUNED_AT_ONCE):
            pass
        return pruned

    async def find(self, reference: str) -> Run:
        return await self._read(sql_reads.find, reference)

    async def page(self, query: RunQuery) -> RunPage:
        return await self._read(sql_reads.page, query)

    async def several(self, ids: Collection[str]) -> Sequence[Run]:
        return await self._read(sql_reads.several, ids)

    async def active(self) -> Sequence[Run]:
        return await self._read(sql_reads.active)

    async def queue(self, *, each: int, without: Collection[str] = ()) -> Sequence[Run]:
        return await self._read(sql_reads.queue, each, without)

    async def num_ahead(self, run: Run) -> int:
        return await self._read(sql_reads.num_ahead, run)

    async def waiting(self) -> Mapping[str, int]:
        return await self._read(sql_reads.waiting)

    async def counts(self) -> Mapping[RunStatus, int]:
        return await self._read(sql_reads.counts)

    async def events(
        self, run_id: str, *, after: int = 0, limit: int = 500, kinds: Collection[str] = ()
    ) -> Sequence[RunEvent]:
        return await self._read(sql_reads.events, run_id, after, limit, kinds)

    async def attempts(self, run_id: str) -> Sequence[Attempt]:
        return await self._read(sql_reads.attempts, run_id)

    async def drivers(self, run_id: str) -> Sequence[Driver]:
        return await self._read(sql_reads.drivers, run_id)

    async def generations(self, run_id: str) -> Sequence[GenerationRow]:
        return await self._read(sql_reads.generations, run_id)

    async def queues(self) -> Sequence[Queue]:
        return await self._read(sql_reads.queues)

    async def put_queue(self, queue: Queue) -> None:
        await self._write(sql_writes.put_queue, queue)

    async def close(self) -> None:
        """Waits for what was asked for; nothing may be asked any more. The second time it does nothing."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._checkpointer.close()
        self._writer.close()
        self._readers.shutdown()
        self._engine.dispose()

    def _write(
        self, work: Callable[Concatenate[Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> asyncio.Future[_T]:
        return self._writer.do(lambda connection: work(connection, *args, **kwargs))

    async def _read(
        self, question: Callable[Concatenate[Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        def ask() -> _T:
            try:
                with self._engine.connect() as connection:
                    return question(connection, *args, **kwargs)
            except Exception as error:
                if is_of_the_disk(error):
                    raise storage_error(error, self._path) from error
                raise

        return await asyncio.get_running_loop().run_in_executor(self._readers, ask)
