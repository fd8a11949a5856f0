"""Both records, and runs to put into them, for the tests of the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.events import EventKind, event
from orchestrator.domain.runs import Change, Run
from orchestrator.domain.spec import RunSpec
from orchestrator.ports.record import Record
from orchestrator.store.memory import MemoryRecord
from orchestrator.store.sql import SqlRecord

KINDS: Final = ("memory", "sql")
SPEC: Final = RunSpec.parse({"name": "brave-otter", "task": "language_model"}).canonical_json()


def time(second: int) -> str:
    return f"2026-01-31T00:{second // 60:02}:{second % 60:02}.000Z"


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'tumbler.db'}"


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[Record]:
    record: Record = MemoryRecord() if kind == "memory" else SqlRecord.open(url(folder))
    try:
        yield record
    finally:
        await record.close()


def run(number: int = 1, **fields: Any) -> Run:
    """Run `r0001`, called `run-1`, of second 1."""
    values = {
        "id": f"r{number:04}",
        "name": f"run-{number}",
        "spec_json": SPEC,
        "labels": {},
        "queue": "default",
        "priority": 50,
        "workers_min": 1,
        "workers_max": 4,
        "claim": '{"worker":{"CPU":1.0},"feed":{},"labels":{}}',
        "storage": "/runs",
        "created": time(number),
        "queued": time(number),
        "updated": time(number),
    }
    return Run(**{**values, **fields})


def new(number: int = 1, **fields: Any) -> Change:
    return Change(run(number, **fields), (happened(f"run-{number} was submitted"),))


def happened(message: str, **facts: Any) -> dict[str, Any]:
    return {**event(EventKind.RUN_STARTED, message, **facts), "time": time(0)}
