from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain import journal as journal_module
from orchestrator.domain.audit import audit
from orchestrator.domain.errors import StorageError
from orchestrator.domain.events import EventKind
from orchestrator.domain.journal import read_journal
from orchestrator.domain.order import BatchPlan
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.sealed_journal import seal
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus
from trainers.elastic.messages import Formed, StepPoint
from trainers.recorder import Recorder

ROWS, BATCH, EVERY, LAST = 40, 8, 4, 10
"""Five steps an epoch, two epochs, a checkpoint every four steps and at the last one."""

SPEC = {
    "name": "otter",
    "task": "language_model",
    "train": {"epochs": 2, "global_batch": BATCH, "logical_shards": 4},
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path, RunSpec.parse(SPEC))


@pytest.fixture
def recorder(run: RunDirectory) -> Recorder:
    return open_recorder(run)


def open_recorder(run: RunDirectory) -> Recorder:
    recorder = Recorder(run, global_batch=BATCH, link_every=EVERY)
    recorder.move(RunStatus.STARTING)
    recorder.plan(ROWS, LAST)
    return recorder


def points(*steps: int, generation: int = 1) -> tuple[StepPoint, ...]:
    plan = BatchPlan(ROWS, BATCH, 4, seed=1)

    def point(step: int) -> StepPoint:
        epoch, first, last = plan.span(step)
        metrics = {"loss": 1 / step}
        hashes = (f"p{step}", f"o{step}") if step % EVERY == 0 or step == LAST else (None, None)
        return StepPoint(step, epoch, first, last, 1.7e9, 0.01, generation, 2, False, metrics, *hashes)

    return tuple(point(step) for step in steps)


def formed(generation: int, step: int) -> Formed:
    return Formed("w1", generation, step, lost_steps=0, form_s=0.01, copy_s=0.0, source="fresh")


def journal(run: RunDirectory, name: str, *keys: str) -> list[Any]:
    """The records of a journal; with keys, a tuple of their values for each record that has the first."""
    records = list(read_journal(run.outbox, name))
    if not keys:
        return records
    return [tuple(record.get(key) for key in keys) for record in records if keys[0] in record]


def test_every_step_is_on_record_once_however_often_it_is_reported(
    run: RunDirectory, recorder: Recorder
) -> None:
    recorder.formed(formed(1, 0), 2)
    recorder.steps(points(1, 2, 3))
    recorder.steps(points(2, 3, 4, 5))
    recorder.steps(points(1))
    recorder.steps(())
    assert journal(run, "ledger", "step", "epoch", "first", "last") == [
        (1, 0, 0, 8),
        (2, 0, 8, 16),
        (3, 0, 16, 24),
        (4, 0, 24, 32),
        (5, 0, 32, 40),
    ]
    assert journal(run, "metrics", "step", "loss") == [(step, 1 / step) for step in range(1, 6)]
    assert recorder.step == 5


def test_the_time_of_a_step_is_a_running_mean_by_world_size(run: RunDirectory, recorder: Recorder) -> None:
    recorder.formed(formed(1, 0), 2)
    recorder.steps(points(1, 2))
    assert recorder.state.step_s == {2: 0.01}
    slow, fast = points(3, 4)
    recorder.steps((replace(slow, step_s=9.0), replace(fast, step_s=0.005, world_size=4)))
    assert recorder.state.step_s == {2: 0.011, 4: 0.005}, "one step that was held up counts twice the mean"
    recorder.close()
    RunDirectory.begin(run.path.parent, RunSpec.parse(SPEC), 2)
    assert open_recorder(run).state.step_s == {2: 0.011, 4: 0.005}


def test_the_plan_comes_first_and_once_however_many_workers_become_warm(
    run: RunDirectory, recorder: Recorder
) -> None:
    recorder.plan(ROWS, LAST)
    recorder.steps(points(1))
    assert journal(run, "ledger", "kind") == [("plan",)]
    expected = {"kind": "plan", "rows": ROWS, "global_batch": BATCH, "link_every": EVERY}
    assert journal(run, "ledger")[0] == {"seq": 1, **expected, "seal": seal("", expected)}
    assert recorder.state.total_steps == LAST


def test_a_generation_that_goes_on_from_an_older_step_undoes_what_came_after(
    run: RunDirectory, recorder: Recorder
) -> None:
    recorder.formed(formed(1, 0), 2)
    recorder.steps(points(1, 2, 3, 4, 5, 6))
    recorder.formed(formed(2, 4), 1)
    assert (recorder.step, recorder.state.generation, recorder.state.workers) == (4, 2, 1)
    recorder.steps(points(*range(5, LAST + 1), generation=2))
    recorder.move(RunStatus.RUNNING)
    recorder.move(RunStatus.SUCCEEDED, reason=EndReason.FINISHED)
    recorder.close()
    assert journal(run, "ledger", "kind", "step") == [("plan", None), ("rewind", 4)]
    assert journal(run, "metrics", "kind", "step") == [("rewind", 4)]
    report = audit(run)
    assert report.problems == ()
    assert [(epoch.consumed, epoch.repeated, epoch.missed) for epoch in report.epochs] == [(40, 0, 0)] * 2


def test_a_generation_that_goes_on_where_the_record_ends_undoes_nothing(
    run: RunDirectory, recorder: Recorder
) -> None:
    recorder.steps(points(1, 2))
    recorder.formed(formed(2, 2), 2)
    assert journal(run, "ledger", "kind") == [("plan",)]
    assert recorder.step == 2


def test_steps_that_a_survivor_did_and_could_not_report_yet_are_recorded_when_they_come(
    run: RunDirectory, recorder: Recorder
) -> None:
    recorder.steps(points(1, 2))
    recorder.formed(formed(2, 4), 2)
    assert recorder.step == 2
    recorder.steps(points(3, 4))
    recorder.steps(points(5, generation=2))
    recorder.close()
    assert journal(run, "ledger", "kind") == [("plan",)]
    assert audit(run).problems == ()


def test_the_status_moves_by_the_table_of_legal_moves_only(run: RunDirectory, recorder: Recorder) -> None:
    recorder.move(RunStatus.RUNNING)
    recorder.move(RunStatus.RUNNING, workers=3)
    with pytest.raises(ValueError, match="cannot go from RUNNING to CANCELLED"):
        recorder.move(RunStatus.CANCELLED)
    assert run.read_status().status is RunStatus.RUNNING
    recorder.move(RunStatus.FAILED, reason=EndReason.NO_PROGRESS, message="3 losses")
    state = run.read_status()
    assert (state.status, state.reason, state.message) == (
        RunStatus.FAILED,
        EndReason.NO_PROGRESS,
        "3 losses",
    )
    with pytest.raises(ValueError, match="cannot go from FAILED"):
        recorder.move(RunStatus.RUNNING)


def test_the_times_of_start_and_end_are_written_once_each(run: RunDirectory, recorder: Recorder) -> None:
    assert recorder.state.started is None
    recorder.move(RunStatus.RUNNING)
    started = recorder.state.started
    assert started is not None
    recorder.move(RunStatus.RUNNING)
    assert (recorder.state.started, recorder.state.ended) == (started, None)
    recorder.move(RunStatus.SUCCEEDED, reason=EndReason.FINISHED)
    assert run.read_status().ended is not None


def test_steps_and_validation_leave_their_newest_metrics_side_by_side(
    run: RunDirectory, recorder: Recorder
) -> None:
    recorder.steps(points(1, 2))
    recorder.evaluated(2, {"val_loss": 0.5})
    recorder.steps(points(4))
    assert recorder.state.metrics == {"loss": 0.25, "val_loss": 0.5}
    assert journal(run, "metrics", "kind", "step", "val_loss") == [("evaluation", 2, 0.5)]


def test_an_event_can_be_read_at_once_and_names_its_attempt(run: RunDirectory, recorder: Recorder) -> None:
    recorder.event(EventKind.WORKER_LOST, "worker w1 was lost", worker="w1")
    assert journal(run, "events", "kind", "message", "attempt", "worker") == [
        ("worker-lost", "worker w1 was lost", 1, "w1")
    ]


def test_what_a_full_disk_refuses_is_held_back_and_written_when_there_is_room(
    run: RunDirectory, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(journal_module.os, "write", full)
        recorder.formed(formed(1, 0), 2)
        recorder.steps(points(1, 2, 3, 4))
        recorder.event(EventKind.WORKER_LOST, "worker w1 was lost")
    assert journal(run, "events") == []
    recorder.steps(points(5))
    recorder.close()
    assert journal(run, "ledger", "step") == [(1,), (2,), (3,), (4,), (5,)]
    assert journal(run, "chain", "step") == [(4,)]
    assert {("worker-lost",), ("storage-healed",)} == set(journal(run, "events", "kind"))


def test_a_recorder_that_a_newer_attempt_shut_out_writes_no_more(
    run: RunDirectory, recorder: Recorder
) -> None:
    RunDirectory.create(run.path.parent, run.spec(), resume=True)
    open_recorder(run)
    with pytest.raises(StorageError, match="a newer writer took over"):
        recorder.steps(points(1))
    assert run.read_status().attempt == 2
