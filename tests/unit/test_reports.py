from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import LocalFileSystem

from orchestrator.domain.journal import read_journal
from orchestrator.domain.membership import Generation
from orchestrator.domain.retry import FailureBudget
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_parts import RetrySpec
from orchestrator.domain.status import IncidentKind, RunStatus
from trainers.elastic.messages import (
    CheckpointFailed,
    Evaluated,
    Formed,
    GroupBroken,
    Report,
    StepPoint,
    StepsDone,
)
from trainers.ray_train.happenings import CheckpointCommitted, CommitFailed, Happening, StillBroken
from trainers.ray_train.reports import ReportDesk
from trainers.recorder import Recorder


class Desk:
    """A report desk with what is around it, and what it asked for."""

    def __init__(self, storage: Path):
        self.run = RunDirectory.create(storage, RunSpec.parse({"name": "otter", "task": "language_model"}))
        self.recorder = Recorder(self.run, global_batch=8, link_every=4)
        self.recorder.move(RunStatus.STARTING)
        self.budget = FailureBudget(RetrySpec())
        self.registered: list[Any] = []
        self.later: list[tuple[float, Happening]] = []
        self.generation = Generation(1, ("w1", "w2"))
        self.desk = ReportDesk(self.recorder, self.registered.append, LocalFileSystem())

    def take(self, report: Report) -> None:
        self.desk.take(
            report, self.generation, self.budget, lambda delay_s, what: self.later.append((delay_s, what))
        )

    def events(self) -> list[dict[str, Any]]:
        return list(read_journal(self.run.outbox, "events"))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def steps_done(generation: int, *steps: int) -> StepsDone:
    def point(step: int) -> StepPoint:
        return StepPoint(step, 0, 8 * step - 8, 8 * step, 1.7e9, 0.01, generation, 2, False, {"loss": 1.0})

    return StepsDone("w1", generation, tuple(point(step) for step in steps))


def formed(generation: int, step: int, **facts: Any) -> Formed:
    known = {"lost_steps": 0, "form_s": 0.01, "copy_s": 0.0, "source": "fresh"}
    return Formed("w1", generation, step, **{**known, **facts})


def committed(step: int, trouble: str = "", remark: str = "") -> CheckpointCommitted:
    metrics = {"val_loss": 0.5}
    return CheckpointCommitted(step, f"/checkpoints/{step}", f"p{step}", metrics, trouble, remark=remark)


def test_the_first_generation_makes_a_starting_run_a_running_one(desk: Desk) -> None:
    desk.take(formed(1, 0))
    state = desk.run.read_status()
    assert (state.status, state.generation, state.workers, state.phase) == (RunStatus.RUNNING, 1, 2, "")


def test_a_later_generation_says_who_is_in_it_and_what_was_lost(desk: Desk) -> None:
    desk.take(formed(1, 0))
    desk.take(steps_done(1, 1, 2, 3))
    desk.recorder.phase("recovering")
    desk.generation = Generation(2, ("w2",))
    desk.take(formed(2, 3, lost_steps=1, source="w2"))
    event = desk.events()[-1]
    assert event["message"] == "generation 2: 1 worker goes on from step 3"
    facts = {"generation": 2, "workers": ["w2"], "step": 3, "steps_repeated": 1, "source": "w2"}
    assert {name: event[name] for name in facts} == facts
    assert desk.run.read_status().phase == ""


def test_what_a_user_should_know_of_a_checkpoint_is_said_with_it(desk: Desk) -> None:
    desk.desk.checkpoint(committed(10))
    desk.desk.checkpoint(committed(20, remark="keep_best finds no accuracy"))
    assert [event["message"] for event in desk.events()] == [
        "checkpoint of step 10 is committed",
        "checkpoint of step 20 is committed; keep_best finds no accuracy",
    ]


def test_who_belongs_to_an_older_generation_is_not_heard(desk: Desk) -> None:
    desk.take(formed(1, 0))
    desk.take(steps_done(1, 1, 2))
    desk.generation = Generation(2, ("w2",))
    desk.take(formed(2, 2))
    before = desk.events()
    for late in (
        steps_done(1, 3, 4),
        formed(1, 9),
        GroupBroken("w1", 1, "connection closed"),
        CheckpointFailed("w1", 1, 4, "no space left"),
        Evaluated("w1", 1, 4, {"val_loss": 9.0}),
    ):
        desk.take(late)
    assert desk.events() == before
    assert (desk.recorder.step, desk.recorder.state.generation) == (2, 2)
    assert desk.recorder.state.metrics == {"loss": 1.0}
    assert desk.registered == []
    assert desk.later == []


def test_a_generation_that_was_offered_and_has_not_formed_leaves_the_older_one_its_voice(desk: Desk) -> None:
    desk.take(formed(1, 0))
    desk.generation = Generation(2, ("w1", "w2", "w3"))
    desk.take(steps_done(1, 1, 2))
    assert desk.recorder.step == 2


def test_a_generation_that_formed_after_the_next_was_offered_counts_no_members_it_does_not_know(
    desk: Desk,
) -> None:
    desk.generation = Generation(2, ("w1", "w2", "w3"))
    desk.take(formed(1, 0))
    assert desk.recorder.state.generation == 1
    assert desk.recorder.state.workers == 0


def test_new_steps_are_progress_and_a_replay_is_none(desk: Desk) -> None:
    desk.take(formed(1, 0))
    desk.take(steps_done(1, 1, 2))
    desk.budget.record(IncidentKind.INFRASTRUCTURE, 2, "lost")
    desk.take(steps_done(1, 1, 2))
    assert desk.budget.losses_without_progress == 1
    desk.take(steps_done(1, 3))
    assert desk.budget.losses_without_progress == 0


def test_a_broken_group_is_looked_at_a_moment_later_when_a_death_may_have_explained_it(desk: Desk) -> None:
    desk.take(formed(1, 0))
    before = desk.events()
    desk.take(GroupBroken("w1", 1, "not everybody came", ("w2",)))
    ((delay_s, happening),) = desk.later
    assert happening == StillBroken(1, "not everybody came", ("w2",))
    assert 0 < delay_s < 1
    assert desk.events() == before


def test_a_committed_checkpoint_is_recorded_and_told_to_ray_with_its_metrics(desk: Desk) -> None:
    desk.take(formed(1, 0))
    desk.desk.checkpoint(committed(4))
    (report,) = desk.registered
    assert report.checkpoint.path == "/checkpoints/4"
    assert report.metrics == {"step": 4, "val_loss": 0.5}
    assert report.validation is False
    assert desk.events()[-1]["kind"] == "checkpoint-committed"
    assert desk.run.read_status().checkpoint == "/checkpoints/4"


def test_checkpoints_that_failed_or_were_passed_over_are_events_with_their_reason(desk: Desk) -> None:
    desk.take(formed(1, 0, skipped_checkpoints=(("/checkpoints/8", "it is damaged"),)))
    for worker in ("w1", "w2"):
        desk.take(CheckpointFailed(worker, 1, 12, "no space left"))
    desk.desk.checkpoint(CommitFailed(16, "a newer attempt committed it"))
    skipped = [event for event in desk.events() if event["kind"] == "checkpoint-skipped"]
    assert [(event["message"], event.get("path"), event.get("step")) for event in skipped] == [
        ("it is damaged", "/checkpoints/8", None),
        ("no space left", None, 12),
        ("a newer attempt committed it", None, 16),
    ]
    assert desk.registered == []


def test_an_evaluation_is_an_event_and_a_metric(desk: Desk) -> None:
    desk.take(formed(1, 0))
    desk.take(Evaluated("w1", 1, 4, {"val_loss": 0.123456}))
    event = desk.events()[-1]
    assert (event["kind"], event["message"]) == ("evaluated", "step 4: val_loss 0.1235")
    assert event["metrics"] == {"val_loss": 0.123456}
    assert desk.recorder.state.metrics["val_loss"] == 0.123456


def test_skipped_steps_are_counted_and_told_ever_more_rarely(desk: Desk) -> None:
    desk.take(formed(1, 0))
    points = [replace(point, skipped=True) for point in steps_done(1, *range(1, 21)).points]
    desk.take(StepsDone("w1", 1, tuple(points)))
    desk.take(StepsDone("w1", 1, tuple(points)))  # reported twice, skipped once
    told = [event for event in desk.events() if event["kind"] == "step-skipped"]
    assert [event["count"] for event in told] == [1, 2, 3, 4, 8, 16]
    assert desk.recorder.state.metrics["steps_skipped"] == 20.0


def test_what_became_of_a_wish_for_a_checkpoint_is_told_with_its_number(desk: Desk) -> None:
    desk.take(formed(1, 0))
    desk.desk.checkpoint(committed(8))
    desk.desk.checkpoint(replace(committed(8), wish=7))
    desk.take(CheckpointFailed("w1", 1, 12, "no space left"))
    desk.desk.checkpoint(CommitFailed(12, "no space left", 9))
    told = [(event["kind"], event["step"], event.get("wish")) for event in desk.events()[-4:]]
    assert told == [
        ("checkpoint-committed", 8, None),
        ("checkpoint-committed", 8, 7),
        ("checkpoint-skipped", 12, None),
        ("checkpoint-skipped", 12, 9),
    ]
