from datetime import UTC, datetime, timedelta, timezone

import pytest

from orchestrator.domain.events import EventKind, event, timestamp
from orchestrator.domain.status import ENDINGS, LEGAL_MOVES, EndReason, RunStatus, check_move

TERMINAL = {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}


def reachable(start: RunStatus) -> set[RunStatus]:
    found, waiting = {start}, [start]
    while waiting:
        new = set(LEGAL_MOVES[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def test_every_status_is_reachable_from_queued() -> None:
    assert reachable(RunStatus.QUEUED) == set(RunStatus)


@pytest.mark.parametrize("status", RunStatus)
def test_only_the_terminal_statuses_have_no_way_out(status: RunStatus) -> None:
    assert status.terminal == (status in TERMINAL)


@pytest.mark.parametrize("status", sorted(set(RunStatus) - TERMINAL))
def test_every_live_status_can_come_to_an_end(status: RunStatus) -> None:
    assert RunStatus.CANCELLED in reachable(status)
    assert status not in LEGAL_MOVES[status]


def test_a_legal_move_tells_its_cause() -> None:
    assert check_move(RunStatus.RUNNING, RunStatus.SUCCEEDED) == "it did its last step"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (RunStatus.SUCCEEDED, RunStatus.RUNNING),
        (RunStatus.QUEUED, RunStatus.RUNNING),
        (RunStatus.RUNNING, RunStatus.RUNNING),
        (RunStatus.CANCELLING, RunStatus.RUNNING),
    ],
)
def test_an_illegal_move_is_refused_and_says_what_is_legal(old: RunStatus, new: RunStatus) -> None:
    with pytest.raises(ValueError, match=f"cannot go from {old} to {new}, expected "):
        check_move(old, new)


def test_every_end_reason_decides_what_follows() -> None:
    assert set(ENDINGS) == set(EndReason)


@pytest.mark.parametrize("reason", EndReason)
def test_a_budget_pays_exactly_for_the_ends_that_lead_to_another_attempt(reason: EndReason) -> None:
    ending = ENDINGS[reason]
    assert (ending.budget is not None) == (ending.status is RunStatus.QUEUED)
    assert ending.status.terminal or ending.status in (RunStatus.QUEUED, RunStatus.PAUSED)


def test_an_event_carries_time_kind_message_and_facts() -> None:
    now = datetime(2026, 1, 31, 23, 59, 59, 125_000, tzinfo=UTC)
    assert event(EventKind.WORKER_LOST, "worker w3 was killed", now=now, worker="w3", step=7) == {
        "time": "2026-01-31T23:59:59.125Z",
        "kind": "worker-lost",
        "message": "worker w3 was killed",
        "worker": "w3",
        "step": 7,
    }


def test_timestamps_are_in_utc_whatever_the_zone() -> None:
    moment = datetime(2026, 1, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2025-12-31T23:00:00.000Z"
