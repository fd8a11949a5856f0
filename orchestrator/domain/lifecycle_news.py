"""What a run directory tells of a run, and what the record keeps of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from orchestrator.domain.events import EventKind, timestamp
from orchestrator.domain.lifecycle import move
from orchestrator.domain.run_directory import RunState
from orchestrator.domain.runs import Attempt, Change, GenerationRow, Progress, Run
from orchestrator.domain.status import RunStatus

_LEFT: Final = (
    EventKind.WORKER_LOST,
    EventKind.WORKER_HUNG,
    EventKind.WORKER_RETIRED,
    EventKind.WORKER_REFUSED,
    EventKind.REPLICA_CORRUPTED,
)


def heard(
    run: Run,
    state: RunState | None,
    events: Sequence[Mapping[str, Any]],
    now: datetime,
    attempt: Attempt | None = None,
) -> Change | None:
    """News of the run directory, ingested once however often it is told.

    `attempt` is the row of the newest attempt, where one of the events may be its first generation.
    """
    if not run.active or (state is not None and state.attempt != run.attempt):
        return None
    new = [happened for happened in events if happened["seq"] > run.outbox_seq]
    formed = [happened for happened in new if happened["kind"] == EventKind.GENERATION_STARTED]
    changes: dict[str, Any] = {}
    if new:
        changes["outbox_seq"] = new[-1]["seq"]
    if run.checkpoint_wish and any(happened.get("wish") == run.checkpoint_wish for happened in new):
        changes["checkpoint_wish"] = 0
    skipped = sum(happened["kind"] == EventKind.CHECKPOINT_SKIPPED for happened in new)
    if skipped:
        changes["skipped_checkpoints"] = run.skipped_checkpoints + skipped
    progress = run.progress if state is None else _told_by(run, state)
    if state is not None:
        changes["phase"] = state.phase
    changes["progress"] = replace(progress, seats=_seats(run.progress.seats, new))
    trains = state is not None and (state.status is RunStatus.RUNNING or state.generation > 0)
    if trains and run.started is None:
        changes["started"] = str(formed[0]["time"]) if formed else timestamp(now)
    known = run.with_(**changes)
    if known == run:
        return None
    told = tuple(_ingested(happened) for happened in new)
    rows = tuple(_generation(run, happened) for happened in formed)
    begun = _first_step(attempt, formed)
    if trains and run.status is RunStatus.STARTING:
        moved = move(known, RunStatus.RUNNING, now)
        return Change(moved.run, (*told, *moved.events), attempts=begun, generations=rows)
    return Change(known.with_(updated=timestamp(now)), told, attempts=begun, generations=rows)


def _told_by(run: Run, state: RunState) -> Progress:
    return replace(
        run.progress,
        step=state.step,
        total_steps=state.total_steps,
        workers=state.workers,
        generation=state.generation,
        metrics=dict(state.metrics),
        checkpoint=state.checkpoint,
        parameters_sha256=state.parameters_sha256,
        step_s=dict(state.step_s),
    )


def _seats(seats: Mapping[str, str], events: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """Where the workers are that started and did not leave."""
    taken = dict(seats)
    for happened in events:
        if happened["kind"] == EventKind.WORKER_STARTED and happened.get("node_id"):
            taken[happened["worker"]] = happened["node_id"]
        elif happened["kind"] in _LEFT:
            taken.pop(str(happened.get("worker")), None)
    return taken


def _ingested(happened: Mapping[str, Any]) -> dict[str, Any]:
    """As the record takes events: the numbers of the run directory's journal stay behind."""
    return {key: value for key, value in happened.items() if key not in ("seq", "crc")}


def _generation(run: Run, formed: Mapping[str, Any]) -> GenerationRow:
    return GenerationRow(
        run.id,
        attempt=formed.get("attempt", run.attempt),
        number=formed["generation"],
        formed=formed["time"],
        step=formed.get("step", 0),
        workers=tuple(formed.get("workers", ())),
        steps_repeated=formed.get("steps_repeated", 0),
        form_s=formed.get("form_s", 0.0),
    )


def _first_step(attempt: Attempt | None, formed: list[Mapping[str, Any]]) -> tuple[Attempt, ...]:
    """Where the attempt went on from is known when its first generation forms."""
    for happened in formed:
        if attempt is not None and happened.get("attempt") == attempt.number and happened["generation"] == 1:
            return (replace(attempt, first_step=happened.get("step", 0)),)
    return ()
