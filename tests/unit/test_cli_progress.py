from pathlib import Path

import pytest

from api.cli.progress import Pace, PlainScreen, Progress, progress_line
from api.cli.ray_chatter import Aside
from orchestrator.domain.events import EventKind
from orchestrator.domain.run_directory import RunState
from orchestrator.domain.status import RunStatus
from tests.unit.recorded_run import RecordedRun


class RecordingScreen:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        self.closed = False

    def update(self, line: str) -> None:
        self.lines.append(line)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def close(self) -> None:
        self.closed = True


def state(step: int, **changes: object) -> RunState:
    known = RunState(
        run="otter",
        attempt=1,
        status=RunStatus.RUNNING,
        updated="2026-01-31T00:00:00.000Z",
        step=step,
        total_steps=100,
        workers=2,
        metrics={"loss": 2.5, "count": 2048.0},
    )
    return known.model_copy(update=changes)


def test_the_line_says_how_far_how_well_how_fast_and_how_long() -> None:
    assert progress_line(state(40), 10.0) == "step 40/100 | loss 2.5 | 20,480 tokens/s | 2 workers | ETA 6 s"


def test_the_line_says_only_what_is_known() -> None:
    assert progress_line(state(0), None) == "starting"
    assert progress_line(state(0, phase="waiting for capacity"), None) == "waiting for capacity"
    unknown = state(3, total_steps=None, metrics={}, workers=1, phase="recovering")
    assert progress_line(unknown, None) == "step 3 | 1 worker | recovering"


def test_the_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace(window_s=10)
    for second in range(100):
        pace.saw(float(second), 1 + second if second < 50 else 51 + 4 * (second - 50))
    assert pace.steps_per_s == pytest.approx(4)


def test_getting_ready_is_no_part_of_the_pace() -> None:
    pace = Pace()
    pace.saw(0, 0)
    pace.saw(9, 5)
    assert pace.steps_per_s is None
    pace.saw(10, 15)
    assert pace.steps_per_s == pytest.approx(10)


def test_the_pace_begins_anew_where_a_run_goes_back() -> None:
    pace = Pace()
    pace.saw(0, 50)
    pace.saw(1, 60)
    pace.saw(2, 20)
    assert pace.steps_per_s is None
    pace.saw(3, 23)
    assert pace.steps_per_s == pytest.approx(3)


def test_what_happens_stays_on_the_screen_once(tmp_path: Path) -> None:
    recorded, screen = RecordedRun(tmp_path), RecordingScreen()
    recorded.started(w1=1, w2=2)
    recorded.formed(1, "w1", "w2")
    with Progress(screen) as progress:
        progress.look(recorded.run)
        recorded.lost("w2")
        recorded.recorder.event(EventKind.CHECKPOINT_COMMITTED, "no news")
        progress.look(recorded.run)
        progress.look(recorded.run)
    assert [note.partition("  ")[2] for note in screen.notes] == [
        "generation 1: 2 workers go on from step 0",
        "worker w2 was lost: its process died",
    ]
    assert screen.closed


def test_a_run_that_has_ended_shows_no_progress(tmp_path: Path) -> None:
    recorded, screen = RecordedRun(tmp_path), RecordingScreen()
    recorded.formed(1, "w1")
    recorded.steps(1, 8)
    recorded.ended()
    with Progress(screen) as progress:
        progress.look(recorded.run)
    assert screen.lines == []


def test_events_of_earlier_attempts_are_no_news(tmp_path: Path) -> None:
    recorded, screen = RecordedRun(tmp_path), RecordingScreen()
    recorded.lost("w1")
    with Progress(screen) as progress:
        progress.follow(recorded.run)
    assert screen.notes == [f"run brave-otter in {recorded.run.path}"]


def test_what_is_printed_meanwhile_leaves_stdout_free(capsys: pytest.CaptureFixture[str]) -> None:
    screen = RecordingScreen()
    with Progress(screen):
        print("from the user's task")
    print("the result")
    assert screen.notes == ["from the user's task"]
    assert capsys.readouterr().out == "the result\n"


def test_a_pipe_gets_a_line_now_and_then_and_every_note(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()
    screen.update("step 1")
    screen.update("step 2")
    screen.note("worker w1 was lost")
    said = capsys.readouterr()
    assert said.err.splitlines() == ["step 1", "worker w1 was lost"]
    assert said.out == ""


def test_rays_half_page_about_a_lost_worker_is_left_out() -> None:
    notes: list[str] = []
    aside = Aside(notes.append)
    print("(raylet) A worker died or was killed while executing a task by an unexpected error.", file=aside)
    print("(raylet) the disk is", end=" ", file=aside)
    print("full", file=aside)
    assert notes == ["(raylet) the disk is full"]
