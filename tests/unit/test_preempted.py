"""A run that is told to leave for a better claim: values in, values out."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain import lifecycle as verbs
from orchestrator.domain.events import timestamp
from orchestrator.domain.lifecycle_attempts import granted, preempted
from orchestrator.domain.runs import Patience
from orchestrator.domain.status import EndReason, IncidentKind, RunStatus
from tests.unit.service_world import NOW
from tests.unit.test_lifecycle import ended, made, run_in


def test_it_keeps_its_status_and_is_asked_once() -> None:
    change = made(preempted(run_in(RunStatus.RUNNING), "high needs its 2 workers", NOW))
    run = change.run
    assert (run.status, run.stop, run.stop_since) == (
        RunStatus.RUNNING,
        EndReason.PREEMPTED,
        timestamp(NOW),
    )
    assert [event["kind"] for event in change.events] == ["run-preempted"]
    assert preempted(run, "again", NOW) is None
    for status in (RunStatus.QUEUED, RunStatus.PAUSING, RunStatus.CANCELLING, RunStatus.PAUSED):
        assert preempted(run_in(status), "", NOW) is None


def test_it_is_queued_at_once_and_waits_from_now_on() -> None:
    asked = made(preempted(run_in(RunStatus.RUNNING), "high needs its 2 workers", NOW)).run
    asked = asked.with_(patience=Patience(losses_without_progress=2))
    run = ended(asked, EndReason.PREEMPTED)
    assert (run.status, run.reason, run.message) == (
        RunStatus.QUEUED,
        "Preempted",
        "high needs its 2 workers",
    )
    assert (run.target, run.stop, run.not_before) == (0, None, None), "no back-off, whatever was before"
    assert run.patience.counts[IncidentKind.PREEMPTION] == 1
    assert (run.queued, run.waits_since) == (asked.queued, timestamp(NOW))
    assert made(granted(run, 1, NOW)).run.attempt == 2


@pytest.mark.parametrize(
    ("reason", "then", "paid_by"),
    [
        (EndReason.CONTROLLER_LOST, "Preempted", IncidentKind.PREEMPTION),
        (EndReason.WORKER_LOST, "Preempted", IncidentKind.PREEMPTION),
        (EndReason.USER_ERROR, "UserError", IncidentKind.OWN_ERROR),
    ],
)
def test_whatever_ends_it_meanwhile_fulfils_that_but_an_own_error_is_paid_for(
    reason: EndReason, then: str, paid_by: IncidentKind
) -> None:
    asked = made(preempted(run_in(RunStatus.RUNNING), "", NOW)).run
    run = ended(asked, reason)
    assert (run.status, run.reason) == (RunStatus.QUEUED, then)
    assert {kind for kind, count in run.patience.counts.items() if count} == {paid_by}


def test_work_that_was_done_before_it_left_is_done() -> None:
    asked = made(preempted(run_in(RunStatus.RUNNING), "", NOW)).run
    assert ended(asked, EndReason.FINISHED).status is RunStatus.SUCCEEDED


def test_what_a_user_wishes_goes_first() -> None:
    asked = made(preempted(run_in(RunStatus.RUNNING), "", NOW)).run
    later = NOW + timedelta(seconds=1)
    pausing = made(verbs.pause(asked, later)).run
    assert (pausing.stop, pausing.stop_since) == (EndReason.USER_PAUSED, timestamp(later))
    assert ended(pausing, EndReason.PREEMPTED).status is RunStatus.PAUSED
    cancelling = made(verbs.cancel(asked, later)).run
    assert ended(cancelling, EndReason.PREEMPTED).status is RunStatus.CANCELLED
    deadline = run_in(RunStatus.RUNNING, stop=EndReason.DEADLINE_EXCEEDED)
    assert preempted(deadline, "", NOW) is None


def test_a_run_that_is_resumed_waits_from_then_on() -> None:
    run = replace(run_in(RunStatus.PAUSED), waits_since=timestamp(NOW))
    later = NOW + timedelta(seconds=9)
    resumed = made(verbs.resume(run, later)).run
    assert (resumed.queued, resumed.waits_since) == (timestamp(later), None)
