"""A run directory as a stream, in the words of the service's: for watching a run without one."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from api.client_streams import StreamEvent
from api.client_types import RunInfo
from api.service.workers import Roster, worker_dict
from orchestrator.domain.errors import StorageError
from orchestrator.domain.journal import JournalReader
from orchestrator.domain.run_directory import RunDirectory, RunState
from orchestrator.domain.runs import RunEvent

_LOOK_EVERY_S: Final = 0.25
_AT_ONCE: Final = 5000
_OF_AN_EVENT: Final = frozenset({"seq", "time", "kind", "message", "attempt"})


def info_of(run: RunDirectory, state: RunState) -> RunInfo:
    """As the service would show it."""
    spec = run.spec()
    content = state.model_dump(mode="json", exclude={"run", "tips", "step_s"})
    workers = {"min": spec.workers.min, "max": spec.workers.max}
    workers |= {"now": state.workers, "target": max(state.workers, spec.workers.min)}
    return RunInfo.model_validate({**content, "id": state.run, "name": state.run, "workers": workers})


def directory_stream(
    run: RunDirectory, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[StreamEvent]:
    """Everything that happens, from its beginning to its end. A storage that fails now is asked again."""
    events, metrics = JournalReader(run.outbox, "events"), JournalReader(run.outbox, "metrics")
    roster, seen = Roster(), {"events": 0, "metrics": 0}
    while True:
        with suppress(StorageError):
            state = run.read_status()
            yield StreamEvent("status", info_of(run, state).content())
            while records := events.read(seen["events"], _AT_ONCE):
                for record in records:
                    yield from _happened(run, record, roster)
                seen["events"] = records[-1]["seq"]
            while points := metrics.read(seen["metrics"], _AT_ONCE):
                yield StreamEvent("metric", {"points": points})
                seen["metrics"] = points[-1]["seq"]
            if state.status.terminal:
                return
        sleep(_LOOK_EVERY_S)


def _happened(run: RunDirectory, record: dict[str, Any], roster: Roster) -> Iterator[StreamEvent]:
    facts = {name: value for name, value in record.items() if name not in _OF_AN_EVENT}
    told = {name: record[name] for name in _OF_AN_EVENT if name in record}
    yield StreamEvent("event", {**told, "facts": facts})
    event = RunEvent(run_id=run.name, facts=facts, **told)
    for worker in roster.take(event):
        yield StreamEvent("worker", worker_dict(worker))
