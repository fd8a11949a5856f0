"""How an attempt ends on record, and how the next one goes on."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.errors import StorageError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.test_recorder import LAST, SPEC, formed, journal, open_recorder, points
from trainers.recorder import Recorder


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.begin(tmp_path, RunSpec.parse(SPEC), 1)


@pytest.fixture
def recorder(run: RunDirectory) -> Recorder:
    return open_recorder(run)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (EndReason.USER_PAUSED, RunStatus.PAUSED),
        (EndReason.USER_CANCELLED, RunStatus.CANCELLED),
        (EndReason.PREEMPTED, RunStatus.QUEUED),
        (EndReason.ORPHANED, RunStatus.QUEUED),
        (EndReason.DEADLINE_EXCEEDED, RunStatus.FAILED),
        (EndReason.NO_CAPACITY, RunStatus.FAILED),
    ],
)
@pytest.mark.parametrize("trained", [False, True], ids=["starting", "running"])
def test_an_attempt_ends_for_any_reason_before_and_after_its_first_generation(
    run: RunDirectory, recorder: Recorder, reason: EndReason, status: RunStatus, trained: bool
) -> None:
    if trained:
        recorder.formed(formed(1, 0), 2)
        recorder.move(RunStatus.RUNNING)
        recorder.steps(points(1, 2))
    assert recorder.end(reason, "because") is status
    recorder.close()  # once more does nothing
    state = run.read_status()
    assert (state.status, state.reason, state.message, state.workers) == (status, reason, "because", 0)
    ended = journal(run, "events", "kind", "status", "reason", "step")
    assert ended == [("run-ended", str(status), str(reason), 2 if trained else 0)]


def test_who_finds_in_the_status_that_it_is_over_finds_its_last_event(
    run: RunDirectory, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Any]] = []
    write = RunDirectory.write_status

    def looking(self: RunDirectory, state: Any) -> None:
        if state.reason is not None:
            seen.append(journal(run, "events", "kind"))
        write(self, state)

    monkeypatch.setattr(RunDirectory, "write_status", looking)
    recorder.end(EndReason.PREEMPTED)
    assert seen[0] == [("run-ended",)]


def test_the_next_attempt_goes_on_from_a_checkpoint_with_ledger_and_chain_as_if_nothing_had_happened(
    run: RunDirectory, recorder: Recorder, tmp_path: Path
) -> None:
    recorder.formed(formed(1, 0), 2)
    recorder.move(RunStatus.RUNNING)
    recorder.steps(points(1, 2, 3, 4))
    recorder.steps(points(5, 6, 7))  # and its process is killed
    RunDirectory.begin(tmp_path, run.spec(), 2)
    second = open_recorder(run)
    assert second.step == 7
    second.formed(formed(1, 4), 1)
    assert second.step == 4
    second.move(RunStatus.RUNNING)
    second.steps(points(*range(5, LAST + 1)))
    second.end(EndReason.FINISHED)
    assert audit(run).problems == ()
    assert [step for step, _ in journal(run, "chain", "step", "chain")] == [4, 8, LAST]
    with pytest.raises(StorageError, match="newer writer"):
        recorder.steps(points(8))  # the killed one wakes up
