"""What readers ask of the database; each function in a snapshot of its own."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.engine import Connection

from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import ACTIVE, Attempt, Driver, GenerationRow, Run, RunEvent
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import RunPage, RunQuery
from orchestrator.store.cursors import cursor_after, order_of, place_of
from orchestrator.store.refusals import MOST_NAMED, NEAR, no_run, the_run
from orchestrator.store.rows import (
    RUN_COLUMNS,
    attempt_of,
    driver_of,
    event_of,
    generation_of,
    queue_of,
    run_of,
)
from orchestrator.store.tables import ATTEMPTS, DRIVERS, EVENTS, GENERATIONS, LABELS, QUEUES, RUNS

_AFTER_ALL: Final = "\U0010ffff"
"""Sorts behind whatever may follow a prefix."""
_MOST_GUESSED: Final = 500
_c = RUNS.c
_QUEUED: Final = _c.status == str(RunStatus.QUEUED)


def find(connection: Connection, reference: str) -> Run:
    for matching in (
        (_c.id == reference) | (_c.name == reference),
        _begins(_c.id, reference) | _begins(_c.name, reference),
    ):
        matches = _runs(connection, select(*RUN_COLUMNS).where(matching).limit(MOST_NAMED + 1))
        run = the_run(reference, matches) if reference else None
        if run is not None:
            return run
    near = select(_c.name).where(_begins(_c.name, reference[:NEAR])).limit(_MOST_GUESSED)
    raise no_run(reference, connection.scalars(near).all())


def page(connection: Connection, query: RunQuery) -> RunPage:
    order, place = order_of(query), place_of(query)
    keys = (_c[order.field], _c.id)
    sorted_by = [key.desc() if order.descending else key for key in keys]
    # The ids first: where rows have to be sorted, it is those alone that are carried about.
    chosen = select(_c.id).where(*_conditions(query)).order_by(*sorted_by).limit(query.limit + 1)
    if place is not None:
        here = tuple_(*keys)
        chosen = chosen.where(here < place if order.descending else here > place)
    runs = _runs(connection, select(*RUN_COLUMNS).where(_c.id.in_(chosen)).order_by(*sorted_by))
    shown = tuple(runs[: query.limit])
    total = None
    if place is None:
        total = connection.scalar(select(func.count()).select_from(RUNS).where(*_conditions(query)))
    return RunPage(shown, cursor_after(query, shown[-1]) if len(runs) > len(shown) else None, total)


def several(connection: Connection, ids: Collection[str]) -> list[Run]:
    return _runs(connection, select(*RUN_COLUMNS).where(_c.id.in_(ids)))


def active(connection: Connection) -> list[Run]:
    living = _c.status.in_([str(status) for status in ACTIVE])
    return _runs(connection, select(*RUN_COLUMNS).where(living).order_by(_c.created, _c.id))


def queue(connection: Connection, each: int, without: Collection[str]) -> list[Run]:
    place = func.row_number().over(partition_by=(_c.queue, _c.priority), order_by=(_c.queued, _c.id))
    ranked = select(_c.id, place.label("place")).where(_QUEUED, _c.gang_claim.not_in(without)).subquery()
    first = select(ranked.c.id).where(ranked.c.place <= each)
    statement = select(*RUN_COLUMNS).where(_c.id.in_(first))
    return _runs(connection, statement.order_by(_c.priority.desc(), _c.queued, _c.id))


def queues(connection: Connection) -> list[Queue]:
    return [queue_of(row) for row in connection.execute(select(QUEUES).order_by(QUEUES.c.name))]


def num_ahead(connection: Connection, run: Run) -> int:
    better = _c.priority > run.priority
    longer = (_c.priority == run.priority) & (tuple_(_c.queued, _c.id) < (run.queued, run.id))
    # Apart, for either is a stretch of an index and the two in one condition are not.
    return sum(
        connection.scalar(select(func.count()).select_from(RUNS).where(_QUEUED, before)) or 0
        for before in (better, longer)
    )


def waiting(connection: Connection) -> Mapping[str, int]:
    found = connection.execute(select(_c.queue, func.count().label("num")).where(_QUEUED).group_by(_c.queue))
    return {row.queue: row.num for row in found}


def counts(connection: Connection) -> Mapping[RunStatus, int]:
    found = connection.execute(select(_c.status, func.count()).group_by(_c.status))
    return {**dict.fromkeys(RunStatus, 0), **{RunStatus(status): count for status, count in found}}


def events(
    connection: Connection, run_id: str, after: int, limit: int, kinds: Collection[str]
) -> list[RunEvent]:
    mine = (EVENTS.c.run_id == run_id) & (EVENTS.c.seq > after)
    if kinds:
        mine &= EVENTS.c.kind.in_([str(kind) for kind in kinds])
    statement = select(EVENTS).where(mine).order_by(EVENTS.c.seq).limit(limit)
    return [event_of(row) for row in connection.execute(statement)]


def attempts(connection: Connection, run_id: str) -> list[Attempt]:
    return [attempt_of(row) for row in _of(connection, ATTEMPTS, run_id)]


def drivers(connection: Connection, run_id: str) -> list[Driver]:
    return [driver_of(row) for row in _of(connection, DRIVERS, run_id)]


def generations(connection: Connection, run_id: str) -> list[GenerationRow]:
    return [generation_of(row) for row in _of(connection, GENERATIONS, run_id)]


def _of(connection: Connection, table: Any, run_id: str) -> Sequence[Any]:
    statement = select(table).where(table.c.run_id == run_id).order_by(*table.primary_key)
    return connection.execute(statement).all()


def _runs(connection: Connection, statement: Select[Any]) -> list[Run]:
    return [run_of(row) for row in connection.execute(statement)]


def _begins(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """As a range, which an index serves."""
    return (column >= prefix) & (column < prefix + _AFTER_ALL)


def _conditions(query: RunQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.statuses:
        conditions.append(_c.status.in_([str(status) for status in query.statuses]))
    for name, value in (query.labels or {}).items():
        labelled = select(LABELS.c.run_id).where(LABELS.c.name == name, LABELS.c.value == value)
        conditions.append(_c.id.in_(labelled))
    if query.queue is not None:
        conditions.append(_c.queue == query.queue)
    if query.name:
        conditions.append(_begins(_c.name, query.name))
    if query.part:
        conditions.append((func.instr(_c.name, query.part) > 0) | (func.instr(_c.id, query.part) > 0))
    if query.since is not None:
        conditions.append(_c.created >= query.since)
    return conditions
