"""The one thread that writes, with group commit: whatever waits goes into one transaction and one fsync.

An fsync takes as long for a hundred runs as for one. While it lasts the next ones gather, so that the writer
keeps up with any number of clients at the price of one more fsync for each of them.
"""

import asyncio
import itertools
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.domain.errors import StorageError
from orchestrator.domain.failpoints import reach
from orchestrator.domain.runs import Change
from orchestrator.ports.record import Added, IdempotencyKey
from orchestrator.store.engines import is_of_the_disk, storage_error

_MOST_AT_ONCE: Final = 512
_GATHER_S: Final = 0.002
_T = TypeVar("_T")


@dataclass(frozen=True)
class NewRun:
    change: Change
    key: IdempotencyKey | None


Work: TypeAlias = Callable[[Connection], Any]
"""Reads and writes on its own; what it raises undoes only what it wrote itself."""
AddAll: TypeAlias = Callable[[Connection, Sequence[NewRun]], list[Added | Exception]]
"""Writes many new runs at once; what refuses one of them is its outcome and leaves nothing behind."""


@dataclass(frozen=True)
class _Job:
    request: NewRun | Work
    future: asyncio.Future[Any]

    @property
    def is_new_run(self) -> bool:
        return isinstance(self.request, NewRun)


class Writer:
    """Serves requests in the order in which they come. A failure of the disk fails those it met, no more."""

    def __init__(self, engine: Engine, path: Path, add_all: AddAll) -> None:
        self._engine = engine
        self._path = path
        self._add_all = add_all
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self.num_commits = 0
        self.log_is_copied = False
        """Set by the checkpointer: but for the last pages, which only the writer can be quick enough for."""
        self._thread = threading.Thread(target=self._run, name="record-writer", daemon=True)
        self._thread.start()

    def add(self, new: NewRun) -> asyncio.Future[Added]:
        return self._submit(new)

    def do(self, work: Callable[[Connection], _T]) -> asyncio.Future[_T]:
        return self._submit(work)

    def close(self) -> None:
        """Waits until all that was asked for is done."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()
        self._engine.dispose()

    def _submit(self, request: NewRun | Work) -> asyncio.Future[Any]:
        if self._closed:
            raise StorageError(f"the record in {self._path} is closed")
        future = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(request, future))
        return future

    def _run(self) -> None:
        going_on = True
        while going_on:
            waiting = list(self._waiting())
            jobs = [job for job in waiting if job is not None]
            going_on = len(jobs) == len(waiting)
            if jobs:
                _answer(zip(jobs, self._outcomes(jobs), strict=True))
                self._begin_log_anew()
            if len(jobs) > 1 and going_on:
                # Many write: let more of them gather, for a transaction costs as much as ten runs in it.
                time.sleep(_GATHER_S)

    def _waiting(self) -> Iterator[_Job | None]:
        yield self._jobs.get()
        with suppress(queue.Empty):
            for _ in range(_MOST_AT_ONCE - 1):
                yield self._jobs.get_nowait()

    def _begin_log_anew(self) -> None:
        """Copies the last pages of the log, after which SQLite writes it from its beginning again."""
        if self.log_is_copied:
            self.log_is_copied = False
            with suppress(Exception), closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _outcomes(self, jobs: Sequence[_Job]) -> list[Any]:
        try:
            return self._transact(jobs)
        except Exception as error:
            if is_of_the_disk(error):
                # The next transaction begins with a new connection: this one may have seen its file go.
                self._engine.dispose()
                return [storage_error(error, self._path) for _ in jobs]
            if len(jobs) == 1:
                return [error]
            # One of them cannot be written at all. Nothing is: on their own the others can.
            return [outcome for job in jobs for outcome in self._outcomes([job])]

    def _transact(self, jobs: Sequence[_Job]) -> list[Any]:
        outcomes: list[Any] = []
        with self._engine.begin() as connection:
            for are_new, some in itertools.groupby(jobs, key=lambda job: job.is_new_run):
                requests = [job.request for job in some]
                if are_new:
                    outcomes += self._add_all(connection, cast("list[NewRun]", requests))
                else:
                    outcomes += [_attempt(connection, work) for work in cast("list[Work]", requests)]
            reach("before-commit")
        self.num_commits += 1
        reach("after-commit")
        return outcomes


def _attempt(connection: Connection, work: Work) -> Any:
    try:
        with _savepoint(connection):
            return work(connection)
    except SQLAlchemyError:
        raise
    except Exception as error:
        return error


@contextmanager
def _savepoint(connection: Connection) -> Iterator[None]:
    connection.exec_driver_sql("SAVEPOINT work")
    try:
        yield
    except SQLAlchemyError:
        # The transaction is lost as a whole, and SQLite may have undone it already.
        raise
    except BaseException:
        connection.exec_driver_sql("ROLLBACK TO work")
        connection.exec_driver_sql("RELEASE work")
        raise
    connection.exec_driver_sql("RELEASE work")


def _answer(outcomes: Iterable[tuple[_Job, Any]]) -> None:
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = defaultdict(list)
    for job, outcome in outcomes:
        by_loop[job.future.get_loop()].append((job.future, outcome))
    for loop, answers in by_loop.items():
        # A loop that is closed waits for nothing any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in answers:
        # Whoever asked may have been cancelled meanwhile.
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
