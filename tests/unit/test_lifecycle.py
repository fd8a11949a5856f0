"""What verbs and facts make of a run: values in, values out."""

import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator.domain import lifecycle as verbs
from orchestrator.domain import lifecycle_attempts as attempts
from orchestrator.domain.errors import SpecError, WrongStatus
from orchestrator.domain.events import EventKind, event, timestamp
from orchestrator.domain.lifecycle_news import heard
from orchestrator.domain.run_directory import RunState
from orchestrator.domain.runs import Attempt, Change, Driver, Progress, Run
from orchestrator.domain.status import ENDINGS, LEGAL_MOVES, EndReason, RunStatus
from tests.unit.service_world import NOW, spec_of

ACTIVE = (RunStatus.STARTING, RunStatus.RUNNING, RunStatus.PAUSING, RunStatus.CANCELLING)
WISHES = {RunStatus.PAUSING: EndReason.USER_PAUSED, RunStatus.CANCELLING: EndReason.USER_CANCELLED}
VERBS = {"paused": verbs.pause, "resumed": verbs.resume, "cancelled": verbs.cancel}


def run_in(status: RunStatus, **changes: Any) -> Run:
    run = verbs.new_run(spec_of("otter", workers="1:4"), now=NOW, run_id="r1").run
    if status in ACTIVE:
        changes = {"attempt": 1, "driver": 1, "target": 2, "stop": WISHES.get(status), **changes}
    return run.with_(**{"status": status, **changes})


def made(change: Change | None) -> Change:
    assert change is not None
    return change


def ended(run: Run, reason: EndReason, message: str = "") -> Run:
    """After all moves that the end of the attempt takes."""
    attempt, driver = Attempt("r1", run.attempt, run.created), Driver("r1", 1, 1, "r1-1-1", run.created)
    while run.active:
        run = made(attempts.attempt_ended(run, attempt, driver, reason, message, NOW)).run
    return run


def test_ids_sort_by_age_and_two_of_one_moment_differ() -> None:
    source = random.Random(1)
    ids = [verbs.new_run_id(NOW + timedelta(milliseconds=n), source) for n in range(50)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50
    assert {len(run_id) for run_id in ids} == {18}
    assert verbs.new_run_id(NOW) != verbs.new_run_id(NOW)


def test_a_new_run_is_queued_as_its_spec_says() -> None:
    spec = spec_of("otter", workers="1:4", priority=70, labels={"team": "nlp"})
    change = verbs.new_run(spec, now=NOW, package="abc")
    run = change.run
    assert (run.status, run.storage, run.package, run.attempt) == (RunStatus.QUEUED, "/runs", "abc", 0)
    assert (run.workers_min, run.workers_max, run.priority, run.labels) == (1, 4, 70, {"team": "nlp"})
    assert run.spec == spec
    assert [happened["kind"] for happened in change.events] == ["run-submitted"]


@pytest.mark.parametrize("status", RunStatus)
@pytest.mark.parametrize("done", VERBS)
def test_a_verb_moves_legally_or_changes_nothing_or_is_refused_with_a_hint(
    status: RunStatus, done: str
) -> None:
    run = run_in(status)
    try:
        change = VERBS[done](run, NOW)
    except WrongStatus as error:
        refused = error
    else:
        if change is not None:
            assert change.run.status in LEGAL_MOVES[status]
            [moved] = change.events
            assert (moved["kind"], moved["from"], moved["to"]) == (
                "status-moved",
                status,
                change.run.status,
            )
            assert VERBS[done](change.run, NOW) is None, "said twice"
        return
    assert f"is {status} and cannot be {done}" in str(refused)
    assert refused.hint


def test_a_pause_or_cancel_of_a_living_run_is_a_wish_and_of_a_waiting_one_a_fact() -> None:
    pausing = made(verbs.pause(run_in(RunStatus.RUNNING), NOW)).run
    assert (pausing.status, pausing.stop) == (RunStatus.PAUSING, EndReason.USER_PAUSED)
    assert pausing.stop_since == timestamp(NOW)
    cancelling = made(verbs.cancel(pausing, NOW + timedelta(seconds=9))).run
    assert (cancelling.status, cancelling.stop) == (RunStatus.CANCELLING, EndReason.USER_CANCELLED)
    assert cancelling.stop_since == timestamp(NOW + timedelta(seconds=9))
    gone = made(verbs.cancel(run_in(RunStatus.QUEUED), NOW)).run
    assert (gone.status, gone.ended, gone.stop) == (RunStatus.CANCELLED, timestamp(NOW), None)
    with pytest.raises(WrongStatus, match=r"being ended \(DeadlineExceeded\) and cannot be paused"):
        verbs.pause(run_in(RunStatus.RUNNING, stop=EndReason.DEADLINE_EXCEEDED), NOW)


def test_scale_shrinks_the_target_at_once_and_leaves_growth_to_admission() -> None:
    run = run_in(RunStatus.RUNNING, target=3)
    down = made(verbs.scale_to(run, 2, NOW)).run
    assert (down.workers_min, down.workers_max, down.target) == (1, 2, 2)
    up = made(verbs.scale_to(run, 8, NOW)).run
    assert (up.workers_min, up.workers_max, up.target) == (1, 8, 3)
    assert made(verbs.scale(run, 4, 5, NOW)).run.target == 3
    assert verbs.scale(run, 1, 4, NOW) is None
    assert made(verbs.scale_to(run_in(RunStatus.PAUSED), 2, NOW)).run.target == 0


@pytest.mark.parametrize(
    ("low", "high", "problem"),
    [
        (0, 2, "workers.min: expected at least 1, got 0"),
        (None, 9, r"workers.max: expected at most train.logical_shards \(8\), got 9"),
        (5, None, r"workers.min: expected at most workers.max \(4\), got 5"),
    ],
)
def test_workers_that_a_run_cannot_have_are_refused_by_name(
    low: int | None, high: int | None, problem: str
) -> None:
    with pytest.raises(SpecError, match=problem):
        verbs.scale(run_in(RunStatus.RUNNING), low, high, NOW)


def test_an_edit_merges_labels_and_checks_the_priority() -> None:
    run = run_in(RunStatus.RUNNING, labels={"team": "nlp", "old": "x"})
    change = made(verbs.edit(run, NOW, labels={"old": None, "new": "y"}, priority=9))
    assert change.run.labels == {"team": "nlp", "new": "y"}
    assert change.run.priority == 9
    assert verbs.edit(run, NOW, labels={"team": "nlp"}, priority=50) is None
    with pytest.raises(SpecError, match="priority: expected 0 to 100, got 101"):
        verbs.edit(run, NOW, priority=101)
    over = run_in(RunStatus.FAILED)
    assert made(verbs.edit(over, NOW, labels={"seen": "yes"})).run.labels == {"seen": "yes"}
    with pytest.raises(WrongStatus, match="cannot be given another priority"):
        verbs.edit(over, NOW, priority=1)


def test_a_grant_begins_the_next_attempt_with_its_first_driver() -> None:
    change = made(attempts.granted(run_in(RunStatus.QUEUED, attempt=1, driver=3), 2, NOW))
    run = change.run
    assert (run.status, run.attempt, run.driver, run.target) == (RunStatus.STARTING, 2, 1, 2)
    assert [(row.number, row.reason) for row in change.attempts] == [(2, None)]
    assert [row.submission_id for row in change.drivers] == ["r1-2-1"]
    assert [happened["kind"] for happened in change.events] == ["status-moved", "attempt-started"]
    later = timestamp(NOW + timedelta(seconds=1))
    assert attempts.granted(run_in(RunStatus.QUEUED, not_before=later), 2, NOW) is None
    assert attempts.granted(run_in(RunStatus.QUEUED), 5, NOW) is None
    assert attempts.granted(run_in(RunStatus.PAUSED), 2, NOW) is None


@pytest.mark.parametrize("reason", EndReason)
@pytest.mark.parametrize("status", ACTIVE)
def test_however_an_attempt_ends_the_run_goes_a_legal_way_to_what_follows(
    status: RunStatus, reason: EndReason
) -> None:
    before = run_in(status, progress=Progress(step=7, workers=2))
    run = ended(before, reason)
    expected = ENDINGS[reason].status
    if status in WISHES and expected is RunStatus.QUEUED:
        expected = ENDINGS[WISHES[status]].status
    if status is RunStatus.CANCELLING and expected is not RunStatus.SUCCEEDED:
        expected = RunStatus.CANCELLED
    assert run.status is expected
    assert (run.target, run.stop, run.progress.workers, run.progress.step) == (0, None, 0, 7)
    assert (run.ended is not None) == run.status.terminal


def test_an_attempt_that_ends_after_its_deadline_wish_fails_the_run_for_that() -> None:
    run = run_in(RunStatus.RUNNING, stop=EndReason.DEADLINE_EXCEEDED, message="2 s are over")
    over = ended(run, EndReason.CONTROLLER_LOST)
    assert (over.status, over.reason, over.message) == (RunStatus.FAILED, "DeadlineExceeded", "2 s are over")


def test_an_end_that_is_told_too_late_changes_nothing() -> None:
    old = Attempt("r1", 1, timestamp(NOW))
    for run in (run_in(RunStatus.RUNNING, attempt=2), run_in(RunStatus.PAUSED, attempt=1)):
        assert attempts.attempt_ended(run, old, None, EndReason.CONTROLLER_LOST, "", NOW) is None


def test_losses_without_progress_wait_longer_each_time_and_progress_forgives_them() -> None:
    run, waits = run_in(RunStatus.RUNNING), []
    run = run.with_(spec_json=spec_of("otter", retry={"max_losses_without_progress": 20}).canonical_json())
    for _ in range(7):
        lost = ended(run, EndReason.CONTROLLER_LOST)
        waits.append(
            attempts.seconds_since(timestamp(NOW), datetime.fromisoformat(lost.not_before or timestamp(NOW)))
        )
        run = run_in(RunStatus.RUNNING, spec_json=run.spec_json, patience=lost.patience)
    assert waits == [0, 1, 3, 7, 15, 30, 30]
    onward = ended(run.with_(progress=Progress(step=5)), EndReason.CONTROLLER_LOST)
    assert onward.not_before is None
    assert (onward.patience.losses_without_progress, onward.patience.newest_step) == (1, 5)


def test_the_next_driver_closes_the_row_of_the_one_before() -> None:
    gone = Driver("r1", 1, 1, "r1-1-1", timestamp(NOW))
    change = made(attempts.next_driver(run_in(RunStatus.RUNNING), gone, "killed", NOW))
    assert [(row.number, row.message, row.ended is None) for row in change.drivers] == [
        (1, "killed", False),
        (2, "", True),
    ]
    assert attempts.next_driver(change.run, gone, "killed", NOW) is None, "told too late"


def told(**state: Any) -> RunState:
    return RunState(**{"run": "otter", "attempt": 1, "status": "RUNNING", "updated": timestamp(NOW), **state})


def journal(*kinds: EventKind) -> list[dict[str, Any]]:
    facts: dict[str, Any] = {"generation": 1, "workers": ["w0", "w1"], "step": 40}
    return [
        {"seq": seq, **event(kind, "so it was", now=NOW, attempt=1, **facts)}
        for seq, kind in enumerate(kinds, start=1)
    ]


def test_news_are_ingested_once_and_the_first_generation_means_running() -> None:
    events = journal(EventKind.RUN_STARTED, EventKind.GENERATION_STARTED)
    attempt = Attempt("r1", 1, timestamp(NOW))
    run = run_in(RunStatus.STARTING)
    change = made(heard(run, told(step=41, generation=1, workers=2), events, NOW, attempt))
    assert (change.run.status, change.run.started) == (RunStatus.RUNNING, timestamp(NOW))
    assert (change.run.outbox_seq, change.run.progress.step) == (2, 41)
    assert [happened["kind"] for happened in change.events][-1] == "status-moved"
    assert all("seq" not in happened for happened in change.events)
    [generation] = change.generations
    assert (generation.number, generation.workers, generation.step) == (1, ("w0", "w1"), 40)
    assert change.attempts == (replace(attempt, first_step=40),)
    assert heard(change.run, told(step=41, generation=1, workers=2), events, NOW) is None
    more = made(heard(change.run, told(step=42, generation=1, workers=2), events, NOW))
    assert more.events == ()


def test_news_of_another_attempt_are_not_heard() -> None:
    assert heard(run_in(RunStatus.RUNNING, attempt=2), told(step=9), (), NOW) is None
    assert heard(run_in(RunStatus.PAUSED), told(step=9), (), NOW) is None


def test_the_deadline_counts_from_the_first_generation() -> None:
    spec_json = spec_of("otter", stop={"max_duration": 60}).canonical_json()
    begun = {"spec_json": spec_json, "started": timestamp(NOW)}
    late = NOW + timedelta(seconds=60)
    assert attempts.deadline_passed(run_in(RunStatus.RUNNING, spec_json=spec_json), late) is None
    assert attempts.deadline_passed(run_in(RunStatus.RUNNING, **begun), NOW) is None
    asked = made(attempts.deadline_passed(run_in(RunStatus.RUNNING, **begun), late)).run
    assert (asked.status, asked.stop) == (RunStatus.RUNNING, EndReason.DEADLINE_EXCEEDED)
    waiting = made(attempts.deadline_passed(run_in(RunStatus.QUEUED, **begun), late)).run
    assert (waiting.status, waiting.reason) == (RunStatus.FAILED, "DeadlineExceeded")
    assert attempts.deadline_passed(run_in(RunStatus.PAUSED, **begun), late) is None


@pytest.mark.parametrize("status", [RunStatus.STARTING, RunStatus.RUNNING])
def test_a_checkpoint_is_wished_for_once_while_the_wish_is_open(status: RunStatus) -> None:
    change = made(verbs.take_checkpoint(run_in(status, event_seq=4), NOW))
    assert change.run.checkpoint_wish == 5
    (happened,) = change.events
    assert (happened["kind"], happened["wish"]) == ("checkpoint-requested", 5)
    assert verbs.take_checkpoint(change.run, NOW) is None
    assert verbs.take_checkpoint(change.run.with_(status=RunStatus.QUEUED), NOW) is None, "it was lost"


@pytest.mark.parametrize(
    "status", [status for status in RunStatus if status not in (RunStatus.STARTING, RunStatus.RUNNING)]
)
def test_who_does_not_train_cannot_be_asked_for_a_checkpoint(status: RunStatus) -> None:
    with pytest.raises(WrongStatus, match=f"is {status} and cannot be asked for a checkpoint") as caught:
        verbs.take_checkpoint(run_in(status), NOW)
    assert caught.value.hint


def test_a_run_that_is_being_ended_or_saves_by_itself_cannot_be_asked_for_a_checkpoint() -> None:
    with pytest.raises(WrongStatus, match="being ended"):
        verbs.take_checkpoint(run_in(RunStatus.RUNNING, stop=EndReason.DEADLINE_EXCEEDED), NOW)
    stock = run_in(RunStatus.RUNNING, spec_json=spec_of("otter", task=None, command="x").plain_json())
    with pytest.raises(WrongStatus, match="only its own code takes checkpoints"):
        verbs.take_checkpoint(stock, NOW)


def test_the_wish_for_a_checkpoint_is_over_when_it_is_told_of_and_outlives_a_lost_attempt() -> None:
    run = run_in(RunStatus.RUNNING, checkpoint_wish=5)
    other = event(EventKind.CHECKPOINT_COMMITTED, "of a step", now=NOW) | {"seq": 1}
    assert made(heard(run, None, [other], NOW)).run.checkpoint_wish == 5
    assert made(heard(run, None, [other | {"wish": 5}], NOW)).run.checkpoint_wish == 0
    assert made(heard(run, None, [other | {"wish": 4}], NOW)).run.checkpoint_wish == 5
    lost = ended(run, EndReason.CONTROLLER_LOST)
    assert (lost.status, lost.checkpoint_wish) == (RunStatus.QUEUED, 5)
    assert made(verbs.pause(lost, NOW)).run.checkpoint_wish == 0
    for reason in (EndReason.USER_PAUSED, EndReason.FINISHED, EndReason.USER_CANCELLED):
        assert ended(run, reason).checkpoint_wish == 0
