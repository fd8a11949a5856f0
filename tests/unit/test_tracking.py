"""What trackers are told: TensorBoard files as its own protocol buffers read them, and followers."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.recorded_run import RecordedRun, finished_run
from trainers.tracking.event_files import EventFiles
from trainers.tracking.event_format import read_frames
from trainers.tracking.following import Follower, Outcome
from trainers.tracking.memory import Memory, news
from trainers.tracking.process import tell_all
from trainers.tracking.tracker import tracker_id


def events_in(folder: Path) -> list[Any]:
    return [
        Event.FromString(content)
        for path in sorted(folder.glob("events.out.tfevents.*"))
        for content, _ in read_frames(path)
    ]


def shown(folder: Path, tag: str) -> list[tuple[int, float]]:
    """A curve as TensorBoard shows it: the start of a session drops what has its step or a later one."""
    points: list[tuple[int, float]] = []
    for event in events_in(folder):
        if event.HasField("session_log") and event.session_log.status == SessionLog.START:
            points = [point for point in points if point[0] < event.step]
        points += [(event.step, value.simple_value) for value in event.summary.value if value.tag == tag]
    return points


def point(step: int, loss: float) -> dict[str, Any]:
    return {"step": step, "time": 1000.0 + step, "step_s": 0.5, "workers": 2, "generation": 1, "loss": loss}


def numbered(*records: dict[str, Any], first: int = 1) -> list[dict[str, Any]]:
    return [{"seq": seq, **record} for seq, record in enumerate(records, start=first)]


RECORDS = numbered(
    *(point(step, float(step)) for step in (1, 2, 3, 4)),
    {"kind": "evaluation", "step": 4, "time": 1004.5, "val_loss": 9.0},
    {"kind": "rewind", "step": 2},
    *(point(step, 10.0 + step) for step in (3, 4, 5)),
    {"kind": "attempt", "attempt": 2, "step": 5},
    point(6, 16.0),
)
LOSSES = [(1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0), (5, 15.0), (6, 16.0)]


def test_tensorboard_sees_each_step_once_whatever_was_undone(tmp_path: Path) -> None:
    files = EventFiles(tmp_path)
    assert files.open() == 0
    files.tell(RECORDS)
    files.close()
    assert shown(tmp_path, "train/loss") == LOSSES
    assert shown(tmp_path, "evaluation/val_loss") == []
    assert events_in(tmp_path)[0].file_version == "brain.Event:2"
    assert events_in(tmp_path)[1].wall_time == 1001.0
    assert files.open() == len(RECORDS)


def test_a_writer_that_was_killed_anywhere_goes_on_without_a_gap_and_without_a_double(tmp_path: Path) -> None:
    files = EventFiles(tmp_path / "whole")
    files.open()
    files.tell(RECORDS)
    files.close()
    whole = next((tmp_path / "whole").iterdir())
    content = whole.read_bytes()
    for cut in range(0, len(content), 7):
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        (folder / whole.name).write_bytes(content[:cut])
        again = EventFiles(folder)
        seq = again.open()
        again.tell(RECORDS[seq:])
        again.close()
        assert (folder / whole.name).read_bytes() == content


def test_files_that_grow_large_are_followed_by_others(tmp_path: Path) -> None:
    files = EventFiles(tmp_path, max_bytes=200)
    files.open()
    files.tell(RECORDS[:6])
    files.close()
    assert files.open() == 6
    files.tell(RECORDS[6:])
    files.close()
    assert len(list(tmp_path.iterdir())) > 2
    assert shown(tmp_path, "train/loss") == LOSSES


def test_a_tracker_that_takes_nothing_back_is_told_each_step_once() -> None:
    told, memory = [], Memory()
    for record in RECORDS:
        points, memory = news(memory, [record])
        told += [(one.step, sorted(one.numbers)[0]) for one in points]
    steps = [(step, "run/step_s") for step in (1, 2, 3, 4)]
    assert told == [*steps, (4, "evaluation/val_loss"), (5, "run/step_s"), (6, "run/step_s")]
    assert memory == Memory(seq=len(RECORDS), step=6, evaluated=4)


class Unsteady:
    """A tracker that fails when it is told to, and remembers what it took."""

    def __init__(self, *failing: int) -> None:
        self.failing = set(failing)
        self.turns = 0
        self.taken: list[int] = []
        self.finished: list[RunStatus] = []

    def open(self) -> int:
        self.turns += 1
        if self.turns in self.failing:
            raise ConnectionError("refused")
        return len(self.taken)

    def tell(self, records: Sequence[Any]) -> None:
        self.taken += [record["seq"] for record in records]

    def finish(self, status: RunStatus) -> None:
        self.finished.append(status)

    def close(self) -> None:
        pass


def follow(run: RunDirectory, tracker: Unsteady, *, attempt: int = 1) -> tuple[Outcome, list[str], float]:
    said: list[str] = []
    clock = [0.0]

    def wait(seconds: float) -> None:
        clock[0] += seconds

    follower = Follower(
        "mlflow",
        tracker,
        run,
        attempt,
        lambda told: said.append(told["kind"]),
        threading.Event(),
        wait,
        lambda: clock[0],
    )
    return follower.follow(), said, clock[0]


def test_a_tracker_that_was_down_is_said_once_and_then_has_everything(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    tracker = Unsteady(1, 2, 3)
    outcome, said, waited_s = follow(run, tracker)
    assert (outcome, said, waited_s) == (Outcome.TOLD, ["tracker-failed", "tracker-healed"], 7.0)
    assert tracker.taken == [record["seq"] for record in read_journal(run.outbox, "metrics")]
    assert tracker.finished == [RunStatus.SUCCEEDED]


def test_a_tracker_that_never_comes_back_is_given_up_after_the_run(tmp_path: Path) -> None:
    outcome, said, waited_s = follow(finished_run(tmp_path), Unsteady(*range(1, 10_000)))
    assert (outcome, said) == (Outcome.GIVEN_UP, ["tracker-failed"])
    assert 600 < waited_s < 640


def test_an_older_attempt_leaves_the_tracker_to_the_next(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.started(w1=1)
    recorded.formed(1, "w1")
    recorded.steps(1, 2, workers=1)
    recorded.ended(RunStatus.FAILED, EndReason.NO_PROGRESS)
    RunDirectory.create(tmp_path, recorded.run.spec(), resume=True)
    tracker = Unsteady()
    assert follow(recorded.run, tracker)[0] is Outcome.LEFT
    assert tracker.finished == []
    assert follow(recorded.run, Unsteady(1, 2, 3, 4))[0] is Outcome.GIVEN_UP


def test_a_finished_run_is_all_in_its_tensorboard_files(tmp_path: Path) -> None:
    run = finished_run(tmp_path, log={"tensorboard": True})
    said: list[Any] = []
    for _ in range(2):  # the second time there is nothing to add
        tell_all(run, 1, threading.Event(), said.append)
        assert [step for step, _ in shown(run.path / "tensorboard", "train/loss")] == list(range(1, 9))
    assert said == []


@pytest.mark.parametrize("name", ["otter", "a" * 63])
def test_the_id_for_trackers_is_short_and_of_this_run_alone(tmp_path: Path, name: str) -> None:
    first, second = RecordedRun(tmp_path / "a", name).run, RecordedRun(tmp_path / "b", name).run
    assert tracker_id(first) == tracker_id(RunDirectory(first.path))
    assert tracker_id(first)[:-9] == name[:54]
    assert len(tracker_id(first)) <= 63
    assert first.record().created == second.record().created or tracker_id(first) != tracker_id(second)
