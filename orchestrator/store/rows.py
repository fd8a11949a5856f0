"""Runs and what belongs to them, as rows of the tables and back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Row, Table

from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import (
    Attempt,
    Change,
    Driver,
    GenerationRow,
    Patience,
    Progress,
    Run,
    RunEvent,
    WorkerWishes,
)
from orchestrator.domain.status import EndReason, IncidentKind, RunStatus
from orchestrator.store.tables import ATTEMPTS, DRIVERS, GENERATIONS, RUNS

_COLUMNS: Final = ("id", "name", "queue", "priority", "created", "queued", "updated", "ended", "not_before")
"""Those that hold a field of Run as it is."""
_IN_BODY: Final = (
    "labels",
    "workers_min",
    "workers_max",
    "claim",
    "storage",
    "reason",
    "message",
    "phase",
    "started",
    "waits_since",
    "attempt",
    "driver",
    "target",
    "stop",
    "stop_since",
    "checkpoint_wish",
    "skipped_checkpoints",
    "package",
    "outbox_seq",
    "event_seq",
    "version",
)
RUN_COLUMNS: Final = tuple(RUNS.c[name] for name in (*_COLUMNS, "status", "spec", "body"))
"""What `run_of` needs, in its order."""


def run_row(run: Run) -> dict[str, Any]:
    """All columns but those of the idempotency key."""
    row = {name: getattr(run, name) for name in _COLUMNS}
    row["status"] = str(run.status)
    row["spec"] = run.spec_json
    # Who has started is never left out of the queue: it may have a deadline.
    row["gang_claim"] = run.gang_claim if run.started is None else ""
    body = {name: getattr(run, name) for name in _IN_BODY}
    body["labels"] = dict(run.labels)
    # Most runs have none of these for most of their life.
    if run.progress != _NO_PROGRESS:
        body["progress"] = _progress_body(run.progress)
    if run.patience != _NO_PATIENCE:
        body["patience"] = {**vars(run.patience), "counts": dict(run.patience.counts)}
    if run.worker_wishes != _NO_WISHES:
        body["worker_wishes"] = vars(run.worker_wishes)
    row["body"] = _text(body)
    return row


def run_of(row: Sequence[Any]) -> Run:
    """The run in a row of RUN_COLUMNS."""
    columns, (status, spec, text) = row[:-3], row[-3:]
    body = json.loads(text)
    stop, progress, patience = body["stop"], body.get("progress"), body.get("patience")
    wishes = body.get("worker_wishes")
    return Run(
        **dict(zip(_COLUMNS, columns, strict=True)),
        **{
            **body,
            "stop": None if stop is None else EndReason(stop),
            "progress": _NO_PROGRESS if progress is None else _progress(progress),
            "patience": _NO_PATIENCE if patience is None else _patience(patience),
            "worker_wishes": _NO_WISHES if wishes is None else _wishes(wishes),
        },
        status=RunStatus(status),
        spec_json=spec,
    )


def event_row(event: RunEvent) -> dict[str, Any]:
    return {**vars(event), "kind": str(event.kind), "facts": _text(dict(event.facts))}


def event_of(row: Row[Any]) -> RunEvent:
    return RunEvent(**{**row._mapping, "facts": json.loads(row.facts)})


def label_rows(run: Run) -> list[dict[str, Any]]:
    return [{"run_id": run.id, "name": name, "value": value} for name, value in run.labels.items()]


def belongings(change: Change) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """The rows of a change besides run, labels and events; new ones, or new values of known ones."""
    if change.attempts:
        yield ATTEMPTS, [_row(attempt, "run_id", "number") for attempt in change.attempts]
    if change.drivers:
        yield DRIVERS, [_row(driver, "run_id", "attempt", "number") for driver in change.drivers]
    if change.generations:
        yield GENERATIONS, [_row(formed, "run_id", "attempt", "number") for formed in change.generations]


def attempt_of(row: Row[Any]) -> Attempt:
    body = _fields(row)
    reason = body["reason"]
    return Attempt(**{**body, "reason": None if reason is None else EndReason(reason)})


def driver_of(row: Row[Any]) -> Driver:
    return Driver(**_fields(row))


def generation_of(row: Row[Any]) -> GenerationRow:
    body = _fields(row)
    return GenerationRow(**{**body, "workers": tuple(body["workers"])})


def queue_row(queue: Queue) -> dict[str, Any]:
    return {"name": queue.name, "body": _text({"quota": dict(queue.quota), "weight": queue.weight})}


def queue_of(row: Row[Any]) -> Queue:
    return Queue(**_fields(row))


_NO_PROGRESS: Final = Progress()
_NO_PATIENCE: Final = Patience()
_NO_WISHES: Final = WorkerWishes()


def _wishes(body: Mapping[str, Any]) -> WorkerWishes:
    return WorkerWishes(body["attempt"], tuple(body["drain"]), tuple(body["kill"]))


def _progress_body(progress: Progress) -> dict[str, Any]:
    mappings = {name: dict(getattr(progress, name)) for name in ("metrics", "step_s", "seats")}
    return {**vars(progress), **mappings}


def _progress(body: Mapping[str, Any]) -> Progress:
    """Keys of JSON are text; rows of earlier versions have no `step_s`."""
    step_s = {int(workers): seconds for workers, seconds in body.get("step_s", {}).items()}
    return Progress(**{**body, "step_s": step_s})


def _patience(body: Mapping[str, Any]) -> Patience:
    counts = {IncidentKind(kind): count for kind, count in body["counts"].items()}
    return Patience(**{**body, "counts": counts})


def _row(value: Attempt | Driver | GenerationRow, *keys: str) -> dict[str, Any]:
    fields = dict(vars(value))
    row = {key: fields.pop(key) for key in keys}
    return {**row, "body": _text(fields)}


def _fields(row: Row[Any]) -> dict[str, Any]:
    fields = dict(row._mapping)
    return {**json.loads(fields.pop("body")), **fields}


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
