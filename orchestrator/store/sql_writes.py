"""What the writer does in a transaction. Each function reads and refuses first, and only then writes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Table, bindparam, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection, Dialect

from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Change, Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import Added, Decide
from orchestrator.store.gate import Passed, admit, move
from orchestrator.store.refusals import key_reused, lease_lost, no_run, run_exists
from orchestrator.store.rows import RUN_COLUMNS, belongings, event_row, label_rows, queue_row, run_of, run_row
from orchestrator.store.tables import ATTEMPTS, DRIVERS, EVENTS, GENERATIONS, LABELS, LEASES, QUEUES, RUNS
from orchestrator.store.writer import NewRun

_LEASE: Final = "reconciler"
_TERMINAL: Final = tuple(str(status) for status in RunStatus if status.terminal)
_BY_ID: Final = select(*RUN_COLUMNS).where(RUNS.c.id == bindparam("run_id"))
_BY_IDS_OR_NAMES: Final = select(RUNS.c.id, RUNS.c.name).where(
    RUNS.c.id.in_(bindparam("ids", expanding=True)) | RUNS.c.name.in_(bindparam("names", expanding=True))
)
_BY_KEYS: Final = select(*RUN_COLUMNS, RUNS.c.idempotency_key, RUNS.c.body_sha256).where(
    RUNS.c.idempotency_key.in_(bindparam("keys", expanding=True))
)
_UPDATE: Final = RUNS.update().where(RUNS.c.id == bindparam("run_id"))
_REMOVE: Final = RUNS.delete().where(RUNS.c.id == bindparam("run_id"))
_TOKEN: Final = select(LEASES.c.token).where(LEASES.c.name == _LEASE)


def add_all(connection: Connection, requests: Sequence[NewRun]) -> list[Added | Exception]:
    """Three or four statements, however many runs."""
    batch = _Batch(connection, requests)
    outcomes: list[Added | Exception] = []
    for request in requests:
        try:
            outcomes.append(batch.add(request))
        except Exception as error:
            outcomes.append(error)
    batch.write(connection)
    return outcomes


def change(connection: Connection, run_id: str, decide: Decide, lease: int | None) -> Run:
    if lease is not None and connection.scalar(_TOKEN) != lease:
        raise lease_lost()
    old = _load(connection, run_id)
    decided = decide(old)
    if decided is None:
        return old
    passed = move(old, decided)
    _write(connection, old, passed, decided)
    return passed.run


def remove(connection: Connection, run_id: str, check: Callable[[Run], None]) -> Run:
    run = _load(connection, run_id)
    check(run)
    connection.execute(_REMOVE, {"run_id": run_id})
    return run


def take_lease(connection: Connection, holder: str, now_s: float, ttl_s: float) -> int | None:
    row = connection.execute(select(LEASES).where(LEASES.c.name == _LEASE)).one_or_none()
    if row is not None and row.holder != holder and row.until_s > now_s:
        return None
    if row is not None and row.holder == holder:
        token: int = row.token
    else:
        token = 1 if row is None else row.token + 1
    lease = {"name": _LEASE, "holder": holder, "token": token, "until_s": now_s + ttl_s}
    statement = insert(LEASES)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_=dict(statement.excluded)), lease
    )
    return token


def drop_lease(connection: Connection, holder: str) -> None:
    mine = (LEASES.c.name == _LEASE) & (LEASES.c.holder == holder)
    connection.execute(LEASES.update().where(mine).values(holder="", until_s=0.0))


def put_queue(connection: Connection, queue: Queue) -> None:
    connection.execute(_UPSERTS[QUEUES.name], queue_row(queue))


def prune_runs(connection: Connection, ended_before: str, limit: int) -> Sequence[str]:
    due = RUNS.c.ended.is_not(None) & (RUNS.c.ended < ended_before) & RUNS.c.status.in_(_TERMINAL)
    old = connection.scalars(select(RUNS.c.id).where(due).limit(limit)).all()
    connection.execute(RUNS.delete().where(RUNS.c.id.in_(old)))
    return old


def prune_keys(connection: Connection, older_than: str, limit: int) -> int:
    due = RUNS.c.idempotency_key.is_not(None) & (RUNS.c.created < older_than)
    old = connection.scalars(select(RUNS.c.id).where(due).limit(limit)).all()
    connection.execute(RUNS.update().where(RUNS.c.id.in_(old)).values(idempotency_key=None, body_sha256=None))
    return len(old)


class _Batch:
    """New runs that are written together. They may repeat one another's names and keys, too."""

    def __init__(self, connection: Connection, requests: Sequence[NewRun]) -> None:
        self._taken = _taken(connection, [request.change.run for request in requests])
        self._keys = _known_keys(connection, {request.key.key for request in requests if request.key})
        self._runs: list[dict[str, Any]] = []
        self._labels: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        self._changes: list[Change] = []

    def add(self, request: NewRun) -> Added:
        if request.key is not None and request.key.key in self._keys:
            body_sha256, run = self._keys[request.key.key]
            if body_sha256 != request.key.body_sha256:
                raise key_reused(request.key.key)
            return Added(run, replayed=True)
        passed = admit(request.change)
        run = passed.run
        if not self._taken.isdisjoint((run.id, run.name)):
            raise run_exists(run.name)
        row, labels, events = run_row(run), label_rows(run), [event_row(event) for event in passed.events]
        row["idempotency_key"] = row["body_sha256"] = None
        if request.key is not None:
            row["idempotency_key"], row["body_sha256"] = request.key.key, request.key.body_sha256
            self._keys[request.key.key] = (request.key.body_sha256, run)
        self._taken |= {run.id, run.name}
        self._runs.append(row)
        self._labels += labels
        self._events += events
        self._changes.append(request.change)
        return Added(run, replayed=False)

    def write(self, connection: Connection) -> None:
        for table, rows in ((RUNS, self._runs), (LABELS, self._labels), (EVENTS, self._events)):
            if rows:
                _insert(connection, table, rows)
        for new in self._changes:
            _put_belongings(connection, new)


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows with all columns of a table. Past SQLAlchemy's execution, which takes longer than the database."""
    text, columns = _insert_text(connection.dialect, table)
    connection.exec_driver_sql(text, [tuple(row[column] for column in columns) for row in rows])


@cache
def _insert_text(dialect: Dialect, table: Table) -> tuple[str, tuple[str, ...]]:
    compiled = table.insert().compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup or ())


def _taken(connection: Connection, runs: Sequence[Run]) -> set[str]:
    """The ids and names of `runs` that are there already. Names are not ids: both fit into one set."""
    sought = {"ids": [run.id for run in runs], "names": [run.name for run in runs]}
    found = connection.execute(_BY_IDS_OR_NAMES, sought)
    return {text for row in found for text in row}


def _known_keys(connection: Connection, keys: Collection[str]) -> dict[str, tuple[str, Run]]:
    if not keys:
        return {}
    found = connection.execute(_BY_KEYS, {"keys": list(keys)})
    return {row[-2]: (row[-1], run_of(row[:-2])) for row in found}


def _load(connection: Connection, run_id: str) -> Run:
    row = connection.execute(_BY_ID, {"run_id": run_id}).one_or_none()
    if row is None:
        raise no_run(run_id)
    return run_of(row)


def _write(connection: Connection, old: Run, passed: Passed, decided: Change) -> None:
    before, after = run_row(old), run_row(passed.run)
    changed: Mapping[str, Any] = {name: value for name, value in after.items() if value != before[name]}
    if changed:
        connection.execute(_UPDATE, {**changed, "run_id": old.id})
    if dict(passed.run.labels) != dict(old.labels):
        connection.execute(LABELS.delete().where(LABELS.c.run_id == old.id))
        if passed.run.labels:
            connection.execute(LABELS.insert(), label_rows(passed.run))
    if passed.events:
        connection.execute(EVENTS.insert(), [event_row(event) for event in passed.events])
    _put_belongings(connection, decided)


def _put_belongings(connection: Connection, decided: Change) -> None:
    for table, rows in belongings(decided):
        connection.execute(_UPSERTS[table.name], rows)


def _upsert(table: Any) -> Any:
    statement = insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={"body": statement.excluded.body}
    )


_UPSERTS: Final = {table.name: _upsert(table) for table in (ATTEMPTS, DRIVERS, GENERATIONS, QUEUES)}
