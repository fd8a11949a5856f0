"""`tumbler watch` and `wait`."""

import io
from pathlib import Path

import httpx2
import pytest
from rich.console import Console

from api.cli import places
from api.cli.directory_stream import directory_stream
from api.cli.following import Story
from api.cli.main import main
from api.cli.panel import Picture, panel
from api.client_streams import StreamEvent
from api.client_types import RunInfo
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import EndReason, RunStatus
from tests.unit.fake_rest import FakeRest, event_json, message, run_json
from tests.unit.recorded_run import RecordedRun, finished_run


@pytest.fixture(autouse=True)
def rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRest:
    monkeypatch.chdir(tmp_path)
    rest = FakeRest()
    monkeypatch.setattr(places, "find_service", rest.client)
    return rest


@pytest.mark.parametrize(("end", "code"), [("SUCCEEDED", 0), ("FAILED", 100), ("CANCELLED", 103)])
def test_waiting_ends_as_the_run_does(end: str, code: int, rest: FakeRest) -> None:
    rest.on("GET", "/runs/otter", run_json("otter"))
    rest.on("GET", "/runs/id-otter", run_json("otter"), run_json("otter"), run_json("otter", end))
    assert main(["wait", "otter"]) == code
    assert len(rest.clock.slept) == 2


def test_waiting_ends_with_101_when_its_time_is_over(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("otter"))
    assert main(["wait", "otter", "--timeout", "1m30s"]) == 101
    assert rest.clock.now_s == pytest.approx(90, abs=1)
    assert capsys.readouterr().err.splitlines()[0] == "run 'otter' is RUNNING after 1:30"


def test_waiting_may_be_for_less_than_the_end(rest: FakeRest) -> None:
    rest.has(run_json("otter", "PAUSED"))
    assert main(["wait", "otter", "--for", "paused"]) == 0
    rest.has(run_json("otter", "SUCCEEDED"))
    assert main(["wait", "otter", "--for", "running"]) == 0


def test_a_service_that_restarts_does_not_end_the_waiting(rest: FakeRest) -> None:
    away = [httpx2.ConnectError("refused")] * 20
    rest.has(run_json("otter")).on("GET", "/runs/id-otter", *away, run_json("otter", "SUCCEEDED"))
    assert main(["wait", "otter"]) == 0
    rest.on("GET", "/runs/id-otter", *away)
    assert main(["wait", "otter"]) == 7


def test_directories_can_be_waited_for_too() -> None:
    finished_run(Path("runs"))
    failed = RecordedRun(Path("runs"), "calm-owl")
    failed.ended(RunStatus.FAILED, EndReason.NO_PROGRESS)
    assert main(["wait", "runs/brave-otter"]) == 0
    assert main(["wait", "runs/calm-owl"]) == 100
    assert main(["watch", "runs/calm-owl"]) == 100


def test_watching_begins_with_the_last_few_events(rest: FakeRest, capsys: pytest.CaptureFixture[str]) -> None:
    rest.has(run_json("otter"))
    rest.on("GET", "/runs/id-otter", run_json("otter", "SUCCEEDED"))
    events = [event_json(seq, "evaluated", "e") for seq in range(1, 41)]
    rest.on("GET", "/runs/id-otter/events", {"events": events, "next_after": 40})
    rest.streams = [
        [
            message("event", event_json(41, "worker-lost", "worker w1 was lost"), "41.0"),
            message("end", {"status": "SUCCEEDED", "message": ""}),
        ]
    ]
    assert main(["watch", "otter"]) == 0
    stream = next(request for request in rest.requests if request.url.path.endswith("/stream"))
    assert stream.headers["Last-Event-ID"] == "32.0"
    said = capsys.readouterr()
    assert "worker w1 was lost" in said.err
    assert "status" in said.out


def test_a_run_that_has_ended_is_not_streamed(rest: FakeRest) -> None:
    rest.has(run_json("otter", "FAILED"))
    assert main(["watch", "otter"]) == 100
    assert not any(path.endswith("/stream") for path in rest.asked())


def test_a_run_that_is_removed_while_it_is_watched_is_named(
    rest: FakeRest, capsys: pytest.CaptureFixture[str]
) -> None:
    rest.has(run_json("otter"))
    rest.streams = [[message("end", {"status": "CANCELLED", "message": "", "deleted": True})]]
    assert main(["watch", "otter"]) == 4
    assert "was removed while it was followed" in capsys.readouterr().err


def told(*items: tuple[str, object]) -> Story:
    story = Story(RunInfo.model_validate(run_json("otter")))
    for number, (kind, data) in enumerate(items):
        story.take(StreamEvent(kind, data), float(number))
    return story


def test_an_event_that_comes_twice_is_told_once() -> None:
    story = Story(RunInfo.model_validate(run_json("otter")))
    lost = StreamEvent("event", event_json(5, "worker-lost", "worker w2 was lost"))
    assert story.take(lost, 0.0) == ["00:00:05  worker w2 was lost"]
    assert story.take(lost, 1.0) == []
    assert len(story.events) == 1


def test_points_older_than_the_status_are_no_news() -> None:
    story = told(("metric", {"points": [{"step": 3, "loss": 9.0}]}))
    assert (story.step, story.metrics["loss"]) == (40, 2.5)
    story = told(("metric", {"points": [{"step": 41, "loss": 2.0}, {"step": 42, "loss": "NaN"}]}))
    assert (story.step, story.metrics["loss"]) == (42, 2.5)


def test_the_line_says_pace_and_how_long() -> None:
    points = [("metric", {"points": [{"step": 40 + n, "loss": 2.0, "count": 100}]}) for n in range(1, 11)]
    line = told(*points).line()
    assert line == "step 50/100 | loss 2 | 100 tokens/s | 2 workers | ETA 50 s"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"status": "QUEUED", "wait": {"why": "no node has a GPU"}}, "queued, waits for: no node has a GPU"),
        ({"status": "PAUSED"}, "paused after step 40, go on with `tumbler resume otter`"),
        ({"status": "CANCELLING"}, "cancelling, after step 40"),
        ({"step": 0, "status": "STARTING"}, "starting"),
    ],
)
def test_the_line_says_what_a_run_that_does_not_train_is_at(changes: dict[str, object], line: str) -> None:
    assert Story(RunInfo.model_validate({**run_json("otter"), **changes})).line() == line


def test_a_kind_of_message_of_a_later_version_is_passed_over() -> None:
    story = told(("weather", {"rain": True}), ("event", None), ("end", {"status": "FAILED", "message": "m"}))
    assert (story.run.status, story.deleted) == ("FAILED", False)


def test_the_panel_shows_all_there_is_to_know() -> None:
    lost = event_json(5, "worker-lost", "worker w2 was lost")
    story = told(("event", lost), ("metric", {"points": [{"step": 50, "loss": 2.0, "lr": 0.001}]}))
    text = io.StringIO()
    Console(file=text, width=100).print(panel(story))
    for part in ("run otter", "RUNNING", "step 50/100", "2 now, 2 granted", "lr 0.001", "worker w2 was lost"):
        assert part in text.getvalue()


def test_the_picture_has_a_curve_the_workers_and_fits_any_terminal() -> None:
    points = [{"step": step, "loss": 9.0 / step} for step in range(1, 90)]
    story = told(("metric", {"points": points}), ("worker", {"worker": "w2", "attempt": 1, "state": "lost"}))
    story.employed([{"worker": "w1", "attempt": 1, "state": "training"}])
    for width, height, curve in ((100, 40, True), (40, 30, True), (100, 12, False)):
        text = io.StringIO()
        Console(file=text, width=width, height=height).print(Picture(story))
        lines = text.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert any(0x2801 <= ord(sign) <= 0x28FF for line in lines for sign in line) is curve
        assert any(line.strip("│ ") == "loss" for line in lines) is curve
        assert "w1 training" in text.getvalue()
        assert "w2 lost" in text.getvalue()


def test_steps_that_were_undone_leave_the_curve() -> None:
    points: list[dict[str, object]] = [{"step": step, "loss": 1.0} for step in range(1, 9)]
    story = told(("metric", {"points": [*points, {"kind": "rewind", "step": 3}, {"step": 4, "loss": 2.0}]}))
    assert story.curve.points[-2:] == [(3, 1.0), (4, 2.0)]


def test_a_run_directory_is_told_as_a_service_would() -> None:
    recorded = finished_run(Path("runs"))
    items = list(directory_stream(RunDirectory(Path("runs/brave-otter"))))
    assert recorded is not None
    story = Story(RunInfo(id="brave-otter", name="brave-otter", status="QUEUED"))
    for number, item in enumerate(items):
        story.take(item, float(number))
    assert (story.run.status, story.step) == ("SUCCEEDED", 8)
    assert [step for step, _ in story.curve.points] == list(range(1, 9))
    assert {row["state"] for row in story.workers.values()} <= {"ended", "lost", "retired", "training"}
