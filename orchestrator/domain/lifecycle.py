"""What users can do to a run: pure functions from a run, and the time, to what is written.

Each returns None where nothing changes (a verb said twice), and raises WrongStatus where the run is past it.
What happens to an attempt by itself is in `lifecycle_attempts`.
"""

import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from orchestrator.domain.errors import Problem, SpecError, WrongStatus
from orchestrator.domain.events import EventKind, event, timestamp
from orchestrator.domain.runs import Change, Run, claim_of
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus, check_move

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_POSSIBLE: Final[Mapping[RunStatus, str]] = {
    RunStatus.QUEUED: "it can be paused, scaled or cancelled",
    RunStatus.STARTING: "it can be paused, scaled or cancelled",
    RunStatus.RUNNING: "it can be paused, scaled or cancelled",
    RunStatus.PAUSING: "wait until it is PAUSED, or cancel it",
    RunStatus.PAUSED: "it can be resumed, scaled or cancelled",
    RunStatus.CANCELLING: "wait until it is CANCELLED",
    RunStatus.SUCCEEDED: "it can be cloned or deleted",
    RunStatus.FAILED: "it can be retried, cloned or deleted",
    RunStatus.CANCELLED: "it can be retried, cloned or deleted",
}


def new_run_id(now: datetime, source: random.Random | None = None) -> str:
    """18 letters and digits: 10 for the millisecond, so that ids sort by age, and 8 (40 bits) of chance."""
    chance = source or random.SystemRandom()
    number = (int(now.timestamp() * 1000) << 40) | chance.getrandbits(40)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(85, -1, -5))


def new_run(spec: RunSpec, *, now: datetime, package: str | None = None, run_id: str | None = None) -> Change:
    """A run that was submitted. The paths of the spec are absolute."""
    at = timestamp(now)
    run = Run(
        id=run_id or new_run_id(now),
        name=spec.name,
        spec_json=spec.plain_json(),
        labels=dict(spec.labels),
        queue=spec.queue,
        priority=spec.priority,
        workers_min=spec.workers.min,
        workers_max=spec.workers.max,
        claim=claim_of(spec),
        storage=str(spec.checkpoint.storage_path),
        created=at,
        queued=at,
        updated=at,
        package=package,
    )
    return Change(run, (event(EventKind.RUN_SUBMITTED, f"run {run.name} was submitted", now=now),))


def pause(run: Run, now: datetime) -> Change | None:
    """Leave its workers, with a checkpoint, until somebody resumes it."""
    match run.status:
        case RunStatus.PAUSING | RunStatus.PAUSED:
            return None
        case RunStatus.QUEUED:
            return move(run, RunStatus.PAUSED, now, reason=EndReason.USER_PAUSED, not_before=None)
        case RunStatus.STARTING | RunStatus.RUNNING if run.stop in (None, EndReason.PREEMPTED):
            return _asked(run, RunStatus.PAUSING, EndReason.USER_PAUSED, "", now)
        case _:
            raise wrong_status(run, "paused")


def resume(run: Run, now: datetime) -> Change | None:
    """Queue a paused run again, behind those of its priority that wait already."""
    match run.status:
        case RunStatus.QUEUED | RunStatus.STARTING | RunStatus.RUNNING:
            return None
        case RunStatus.PAUSED:
            return move(run, RunStatus.QUEUED, now, queued=timestamp(now), waits_since=None)
        case _:
            raise wrong_status(run, "resumed")


def cancel(run: Run, now: datetime, message: str = "") -> Change | None:
    """End a run early, for good."""
    match run.status:
        case RunStatus.CANCELLING | RunStatus.CANCELLED:
            return None
        case RunStatus.QUEUED | RunStatus.PAUSED:
            return move(
                run,
                RunStatus.CANCELLED,
                now,
                reason=EndReason.USER_CANCELLED,
                message=message,
                ended=timestamp(now),
                not_before=None,
            )
        case RunStatus.STARTING | RunStatus.RUNNING | RunStatus.PAUSING:
            return _asked(run, RunStatus.CANCELLING, EndReason.USER_CANCELLED, message, now)
        case _:
            raise wrong_status(run, "cancelled")


def take_checkpoint(run: Run, now: datetime) -> Change | None:
    """A checkpoint at the next step boundary. While one is wished for, a second wish is the same one."""
    if run.active and run.spec.task is None:
        raise WrongStatus(
            f"run {run.name} is an entrypoint or a command, and only its own code takes checkpoints",
            hint="a run of a task can be asked for one",
        )
    match run.status:
        case RunStatus.STARTING | RunStatus.RUNNING | RunStatus.QUEUED if run.checkpoint_wish:
            return None
        case RunStatus.STARTING | RunStatus.RUNNING if run.stop is None:
            happened = event(
                EventKind.CHECKPOINT_REQUESTED,
                "a checkpoint is wished for at the next step",
                now=now,
                attempt=run.attempt,
                wish=run.event_seq + 1,
            )
            return Change(run.with_(checkpoint_wish=run.event_seq + 1, updated=timestamp(now)), (happened,))
        case _:
            raise wrong_status(run, "asked for a checkpoint")


def scale_to(run: Run, workers: int, now: datetime) -> Change | None:
    """At most so many workers; `workers_min` follows where it is above."""
    return scale(run, min(run.workers_min, workers), workers, now)


def scale(run: Run, low: int | None, high: int | None, now: datetime) -> Change | None:
    """Between `low` and `high` workers, None for as it is. Shrinks at once, grows when admission grants it.

    Raises SpecError for numbers that the run cannot have, and WrongStatus.
    """
    low, high = run.workers_min if low is None else low, run.workers_max if high is None else high
    if run.status.terminal or run.status is RunStatus.CANCELLING:
        raise wrong_status(run, "scaled")
    _check_workers(run, low, high)
    if (low, high) == (run.workers_min, run.workers_max):
        return None
    target = run.target
    if run.status in (RunStatus.STARTING, RunStatus.RUNNING):
        target = min(high, target)
    scaled = run.with_(workers_min=low, workers_max=high, target=target, updated=timestamp(now))
    wished = f"{low}" if low == high else f"{low} to {high}"
    happened = event(
        EventKind.RUN_SCALED,
        f"the run was scaled to {wished} workers",
        now=now,
        attempt=run.attempt,
        min=low,
        max=high,
        target=target,
    )
    return Change(scaled, (happened,))


def edit(
    run: Run,
    now: datetime,
    *,
    labels: Mapping[str, str | None] | None = None,
    priority: int | None = None,
) -> Change | None:
    """Other labels (None removes one) or another priority. Labels can be changed even of an ended run.

    Raises SpecError and WrongStatus.
    """
    merged = {**run.labels, **(labels or {})}
    kept = {name: value for name, value in merged.items() if value is not None}
    wanted = run.priority if priority is None else priority
    if "" in kept:
        raise SpecError([Problem("labels", "expected text that is not empty as the name of a label")])
    if not 0 <= wanted <= 100:
        raise SpecError([Problem("priority", f"expected 0 to 100, got {wanted}")])
    if run.status.terminal and wanted != run.priority:
        raise wrong_status(run, "given another priority")
    changes: dict[str, Any] = {}
    if kept != run.labels:
        changes["labels"] = kept
    if wanted != run.priority:
        changes["priority"] = wanted
    if not changes:
        return None
    named = " and ".join(changes)
    happened = event(
        EventKind.RUN_CHANGED, f"{named} of the run changed", now=now, attempt=run.attempt, **changes
    )
    return Change(run.with_(**changes, updated=timestamp(now)), (happened,))


def check_deletable(run: Run) -> None:
    """Raises WrongStatus while the run is not over."""
    if not run.status.terminal:
        raise WrongStatus(
            f"run {run.name} is {run.status} and cannot be deleted", hint="cancel it first, and wait for that"
        )


def check_retriable(run: Run) -> None:
    """Raises WrongStatus for a run that still lives, or did all its work."""
    if run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
        raise wrong_status(run, "retried")


def move(
    run: Run,
    status: RunStatus,
    now: datetime,
    *,
    reason: EndReason | None = None,
    message: str = "",
    **changes: Any,
) -> Change:
    """To another status, with the one event that every move makes. Raises ValueError for an illegal move."""
    cause = check_move(run.status, status)
    if status is RunStatus.PAUSED or status.terminal:
        changes["checkpoint_wish"] = 0  # what ended left a last one; after a loss the next attempt owes it
    happened = event(
        EventKind.STATUS_MOVED,
        f"the run is {status}: {message or cause}",
        now=now,
        attempt=changes.get("attempt", run.attempt),
        **{"from": str(run.status), "to": str(status), "reason": None if reason is None else str(reason)},
    )
    moved = run.with_(
        status=status,
        reason=None if reason is None else str(reason),
        message=message,
        updated=timestamp(now),
        **changes,
    )
    return Change(moved, (happened,))


def wrong_status(run: Run, done: str) -> WrongStatus:
    """A sentence that names the status, and a hint that says what is possible in it."""
    why = f"is {run.status}"
    if run.stop is not None and run.status in (RunStatus.STARTING, RunStatus.RUNNING):
        return WrongStatus(
            f"run {run.name} is being ended ({run.stop}) and cannot be {done}", hint="wait until it is over"
        )
    return WrongStatus(f"run {run.name} {why} and cannot be {done}", hint=_POSSIBLE[run.status])


def _asked(run: Run, status: RunStatus, wish: EndReason, message: str, now: datetime) -> Change:
    """The living attempt is asked to stop. Being asked for something else later starts the patience anew."""
    return move(run, status, now, reason=wish, message=message, stop=wish, stop_since=timestamp(now))


def _check_workers(run: Run, low: int, high: int) -> None:
    problems = []
    if low < 1:
        problems.append(Problem("workers.min", f"expected at least 1, got {low}"))
    if high < 1:
        problems.append(Problem("workers.max", f"expected at least 1, got {high}"))
    if not problems and low > high:
        problems.append(Problem("workers.min", f"expected at most workers.max ({high}), got {low}"))
    spec = run.spec
    shards = spec.train.logical_shards
    if spec.task is not None and high > shards:
        problems.append(
            Problem("workers.max", f"expected at most train.logical_shards ({shards}), got {high}")
        )
    if problems:
        raise SpecError(problems)
