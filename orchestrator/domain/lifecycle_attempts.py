"""What happens to a run by itself: workers granted, a driver gone, the attempt over, its time over.

Pure functions, as in `lifecycle`: from a run and a fact to what is written, None where the fact changes
nothing. They are decided inside the transaction, on the newest run: a fact that came too late falls flat.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from orchestrator.domain.events import EventKind, event, timestamp
from orchestrator.domain.lifecycle import move
from orchestrator.domain.retry import FailureBudget, GiveUp
from orchestrator.domain.runs import Attempt, Change, Driver, Patience, Run, submission_id
from orchestrator.domain.status import ENDINGS, EndReason, IncidentKind, RunStatus

_LONGEST_BACK_OFF_S: Final = 30.0
_LIVE: Final = (RunStatus.STARTING, RunStatus.RUNNING)
_VIA: Final[Mapping[tuple[RunStatus, RunStatus], RunStatus]] = {
    (RunStatus.STARTING, RunStatus.SUCCEEDED): RunStatus.RUNNING,
    (RunStatus.STARTING, RunStatus.PAUSED): RunStatus.PAUSING,
    (RunStatus.RUNNING, RunStatus.PAUSED): RunStatus.PAUSING,
    (RunStatus.STARTING, RunStatus.CANCELLED): RunStatus.CANCELLING,
    (RunStatus.RUNNING, RunStatus.CANCELLED): RunStatus.CANCELLING,
    (RunStatus.PAUSING, RunStatus.CANCELLED): RunStatus.CANCELLING,
}
"""(from, to) -> the status between, for ends that came before the service heard of what led to them."""


def granted(run: Run, target: int, now: datetime) -> Change | None:
    """The scheduler grants `target` workers: the next attempt begins, with its first driver."""
    waits = run.not_before is not None and run.not_before > timestamp(now)
    if run.status is not RunStatus.QUEUED or waits or not run.workers_min <= target <= run.workers_max:
        return None
    number = run.attempt + 1
    change = move(
        run,
        RunStatus.STARTING,
        now,
        attempt=number,
        driver=1,
        target=target,
        not_before=None,
        progress=replace(run.progress, workers=0, generation=0, seats={}),
    )
    begun = event(
        EventKind.ATTEMPT_STARTED,
        f"attempt {number} of {run.name} starts with {_workers(target)}",
        now=now,
        attempt=number,
        driver=1,
        target=target,
    )
    return replace(
        change,
        events=(*change.events, begun),
        attempts=(Attempt(run.id, number, timestamp(now), first_step=run.progress.step),),
        drivers=(_driver(change.run, now),),
    )


def retargeted(run: Run, target: int, now: datetime) -> Change | None:
    """The scheduler grants a living attempt more workers, or fewer."""
    possible = run.status in _LIVE and run.stop is None
    if not possible or target == run.target or not run.workers_min <= target <= run.workers_max:
        return None
    scaled = event(
        EventKind.RUN_SCALED,
        f"the run is granted {_workers(target)} instead of {run.target}",
        now=now,
        attempt=run.attempt,
        min=run.workers_min,
        max=run.workers_max,
        target=target,
    )
    return Change(run.with_(target=target, updated=timestamp(now)), (scaled,))


def preempted(run: Run, message: str, now: datetime) -> Change | None:
    """A better claim needs its places: leave them with a last checkpoint, and wait for others.

    The status stays; QUEUED follows when the attempt is over. A user's wish that comes meanwhile goes first.
    """
    if run.status not in _LIVE or run.stop is not None:
        return None
    at = timestamp(now)
    asked = run.with_(stop=EndReason.PREEMPTED, stop_since=at, message=message, updated=at)
    happened = event(EventKind.RUN_PREEMPTED, message, now=now, attempt=run.attempt, target=run.target)
    return Change(asked, (happened,))


def next_driver(run: Run, gone: Driver | None, message: str, now: datetime) -> Change | None:
    """The newest driver is over while its attempt is not: another one shall adopt the controller."""
    if not run.active or (gone is not None and (gone.attempt, gone.number) != (run.attempt, run.driver)):
        return None
    known = run.with_(driver=run.driver + 1, updated=timestamp(now))
    ended = event(
        EventKind.DRIVER_ENDED,
        f"driver {run.driver} is gone before its attempt is over" + (f": {message}" if message else ""),
        now=now,
        attempt=run.attempt,
        driver=run.driver,
    )
    started = event(
        EventKind.DRIVER_STARTED,
        f"driver {known.driver} of attempt {run.attempt} starts",
        now=now,
        attempt=run.attempt,
        driver=known.driver,
    )
    old = () if gone is None else (replace(gone, ended=timestamp(now), message=message),)
    return Change(known, (ended, started), drivers=(*old, _driver(known, now)))


def attempt_ended(
    run: Run, attempt: Attempt, driver: Driver | None, reason: EndReason, message: str, now: datetime
) -> Change | None:
    """The attempt is over. Returns one legal move: say it again while the run is active in this attempt.

    Two moves come where the service was away, or somebody stopped the attempt behind its back.
    """
    if not run.active or run.attempt != attempt.number:
        return None
    end = _what_follows(run, reason, message)
    via = _VIA.get((run.status, end.status))
    if via is not None:
        return move(run, via, now, reason=None if via is RunStatus.RUNNING else reason)
    at = timestamp(now)
    over = event(
        EventKind.ATTEMPT_ENDED,
        f"attempt {run.attempt} ended: {reason}" + (f", {message}" if message else ""),
        now=now,
        attempt=run.attempt,
        reason=str(reason),
        step=run.progress.step,
    )
    change = move(
        run,
        end.status,
        now,
        reason=end.reason,
        message=end.message,
        phase="",
        target=0,
        stop=None,
        stop_since=None,
        ended=at if end.status.terminal else None,
        not_before=timestamp(now + timedelta(seconds=end.back_off_s)) if end.back_off_s else None,
        progress=replace(run.progress, workers=0, seats={}),
        waits_since=at if end.status is RunStatus.QUEUED else None,
        patience=end.patience,
    )
    closed = replace(attempt, ended=at, reason=reason, message=message, last_step=run.progress.step)
    last = () if driver is None or driver.ended else (replace(driver, ended=at),)
    return replace(change, events=(over, *change.events), attempts=(closed,), drivers=last)


def is_overtime(run: Run, now: datetime) -> bool:
    """`stop.max_duration` seconds have passed since the run's first generation formed."""
    if run.started is None:
        return False
    longest = run.spec.stop.max_duration
    return longest is not None and seconds_since(run.started, now) >= longest


def deadline_passed(run: Run, now: datetime) -> Change | None:
    """A waiting run fails; a living attempt is asked to stop and keeps its status meanwhile.

    One that is paused waits for its user, and one that is asked to stop already is left to that.
    """
    if not is_overtime(run, now):
        return None
    message = f"stop.max_duration of {run.spec.stop.max_duration:g} s is over"
    if run.status is RunStatus.QUEUED:
        return move(
            run,
            RunStatus.FAILED,
            now,
            reason=EndReason.DEADLINE_EXCEEDED,
            message=message,
            ended=timestamp(now),
            not_before=None,
        )
    if run.status not in _LIVE or run.stop is not None:
        return None
    at = timestamp(now)
    return Change(run.with_(stop=EndReason.DEADLINE_EXCEEDED, stop_since=at, message=message, updated=at))


def seconds_since(then: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(then)).total_seconds()


@dataclass(frozen=True)
class _Follows:
    status: RunStatus
    reason: EndReason
    message: str
    patience: Patience
    back_off_s: float = 0.0


def _what_follows(run: Run, reason: EndReason, message: str) -> _Follows:
    """A wish to stop is fulfilled by whatever ended the attempt, unless the work was done first."""
    ending = ENDINGS[reason]
    if ending.status is RunStatus.SUCCEEDED:
        return _Follows(ending.status, reason, message, run.patience)
    if run.status is RunStatus.CANCELLING:
        return _Follows(RunStatus.CANCELLED, EndReason.USER_CANCELLED, message, run.patience)
    if run.stop is EndReason.PREEMPTED and ending.budget is not None:
        if ending.budget is not IncidentKind.OWN_ERROR:
            return _charged(run, run.stop, IncidentKind.PREEMPTION, message or run.message)
        return _charged(run, reason, ending.budget, message)
    if run.stop is not None and ending.budget is not None:
        return _Follows(ENDINGS[run.stop].status, run.stop, message or run.message, run.patience)
    if ending.budget is None:
        return _Follows(ending.status, reason, message, run.patience)
    return _charged(run, reason, ending.budget, message)


def _charged(run: Run, reason: EndReason, kind: IncidentKind, message: str) -> _Follows:
    patience = run.patience
    budget = FailureBudget(
        run.spec.retry,
        {each: patience.counts.get(each, 0) for each in IncidentKind},
        patience.losses_without_progress,
        patience.newest_step,
    )
    verdict = budget.record(kind, run.progress.step, message)
    left = Patience(dict(budget.counts), budget.losses_without_progress, budget.newest_step)
    if isinstance(verdict, GiveUp):
        return _Follows(RunStatus.FAILED, verdict.reason, verdict.message, left)
    again = 0 if kind is IncidentKind.PREEMPTION else max(0, budget.losses_without_progress - 1)
    back_off_s = min(_LONGEST_BACK_OFF_S, 2.0 ** min(again, 10) - 1)
    return _Follows(RunStatus.QUEUED, reason, message, left, back_off_s)


def _driver(run: Run, now: datetime) -> Driver:
    return Driver(run.id, run.attempt, run.driver, submission_id(run, run.driver), timestamp(now))


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
