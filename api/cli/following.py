"""A run of the service as it is followed: its stream, taken in and shown until the run has ended."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from api.cli.curve import Curve
from api.cli.output import Format, put, tell
from api.cli.progress import WORTH_A_LINE, Pace, Screen, progress_line
from api.cli.served_runs import lines_about
from api.client import Client
from api.client_streams import StreamEvent
from api.client_types import EventInfo, RunInfo
from orchestrator.domain.errors import RunCancelled, RunFailed, RunNotFound
from orchestrator.domain.events import EventKind
from orchestrator.domain.status import RunStatus

_OF_THE_SERVICE = frozenset(
    {"attempt-started", "attempt-ended", "run-scaled", "run-changed", "checkpoint-requested"}
)
SHOWN_EVENTS = 8


@dataclass(frozen=True)
class _Standing:
    step: int
    total_steps: int | None
    workers: int
    phase: str
    metrics: Mapping[str, float]


@dataclass
class Story:
    """What is known of a run that is followed."""

    run: RunInfo
    pace: Pace = field(default_factory=Pace)
    events: deque[EventInfo] = field(default_factory=lambda: deque(maxlen=SHOWN_EVENTS))
    point: dict[str, Any] = field(default_factory=dict)
    """The newest metrics by name, those of an evaluation among them."""
    curve: Curve = field(default_factory=Curve)
    """The loss of all attempts, by step."""
    workers: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    """By attempt and id: `worker`, `attempt`, `state` and more."""
    trouble: str = ""
    """Why nothing is heard; empty while something is."""
    deleted: bool = False
    """Somebody removed it while it was followed."""
    _seq: int = 0

    def take(self, item: StreamEvent, now_s: float) -> list[str]:
        """Learn one thing; returns the lines that should stay to be read."""
        notes: list[str] = []
        self.trouble = ""
        match item.kind, item.data:
            case "status", {"id": _}:
                notes = self._moved(RunInfo.model_validate(item.data))
            case "event", {"seq": int(seq)} if seq > self._seq:
                self._seq = seq
                notes = self._happened(EventInfo.model_validate(item.data))
            case "metric", {"points": [*points]}:
                self._measured(points)
            case "worker", {"worker": str(), "attempt": int()}:
                self.employed([item.data])
            case "trouble", {"message": str(sentence)}:
                notes = [sentence]
            case "end", {"status": str(status), "message": str(message)}:
                self.deleted = bool(item.data.get("deleted"))
                self.run = self.run.model_copy(update={"status": status, "message": message})
        self.pace.saw(now_s, self.step)
        return notes

    def employed(self, workers: Iterable[dict[str, Any]]) -> None:
        """Workers in their newest states."""
        self.workers.update({(row["attempt"], row["worker"]): row for row in workers})

    @property
    def newest_event(self) -> int:
        """Its number."""
        return self._seq

    @property
    def step(self) -> int:
        return max(self.run.step, int(self.point.get("step", 0)))

    @property
    def metrics(self) -> Mapping[str, float]:
        measured = {name: value for name, value in self.point.items() if isinstance(value, int | float)}
        return {**self.run.metrics, **measured}

    def line(self) -> str:
        """Where it stands, in one line."""
        run = self.run
        match run.status:
            case RunStatus.QUEUED:
                why = run.wait.why if run.wait and run.wait.why else "its turn"
                return f"queued, waits for: {why}"
            case RunStatus.PAUSED:
                return f"paused after step {run.step}, go on with `tumbler resume {run.name}`"
            case RunStatus.PAUSING | RunStatus.CANCELLING:
                return f"{run.status.lower()}, after step {self.step}"
        standing = _Standing(self.step, run.total_steps, run.workers.now, run.phase, self.metrics)
        return progress_line(standing, self.pace.steps_per_s)

    def _moved(self, run: RunInfo) -> list[str]:
        before, self.run = self.run, run
        if run.attempt != before.attempt:
            self.point.clear()
        if run.status != before.status and run.status in (RunStatus.PAUSED, RunStatus.QUEUED):
            return [f"{run.updated[11:19] if run.updated else ''}  {self.line()}".strip()]
        return []

    def _measured(self, points: list[dict[str, Any]]) -> None:
        """A stream begins with all there ever was; only what is newer than the status is news."""
        for point in points:
            match point.get("kind"):
                case "rewind":
                    self.point.clear()
                    self.curve.back_to(point.get("step", 0))
                case None if "loss" in point:
                    self.curve.add(point["step"], point["loss"])
            if point.get("kind") not in ("rewind", "attempt") and point.get("step", 0) >= self.run.step:
                self.point.update(point)

    def _happened(self, event: EventInfo) -> list[str]:
        self.events.append(event)
        if event.kind in WORTH_A_LINE or event.kind in _OF_THE_SERVICE:
            return [f"{event.time[11:19]}  {event.message}"]
        return []


class View(Protocol):
    """Where a story is shown."""

    def show(self, story: Story) -> None: ...

    def note(self, line: str) -> None: ...

    def close(self) -> None: ...


class LineView:
    """One line that changes, on a terminal; a line now and then elsewhere."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, story: Story) -> None:
        if not story.run.over:
            self._screen.update(story.line())

    def note(self, line: str) -> None:
        self._screen.note(line)

    def close(self) -> None:
        self._screen.close()


def follow_run(
    service: Client, run: RunInfo, view: View, *, last_id: str = "", workers: Iterable[dict[str, Any]] = ()
) -> RunInfo:
    """Show a run until it has ended; returns how. The view is closed, also by Ctrl-C."""
    story = Story(run)

    def broke_off(sentence: str) -> None:
        story.trouble = sentence
        view.note(sentence)
        view.show(story)

    try:
        story.employed(workers)
        view.show(story)
        for item in service.stream(run.id, last_id=last_id, on_trouble=broke_off):
            notes = story.take(item, service.monotonic())
            if story.run.status == RunStatus.QUEUED and item.kind == "status":
                story.run = service.run(run.id)  # only this one says what it waits for
            for note in notes:
                view.note(note)
            view.show(story)
    finally:
        view.close()
    if story.deleted:
        raise RunNotFound(f"run '{run.name}' was removed while it was followed")
    return service.run(run.id)


def conclude(service: Client, run: RunInfo, output: Format) -> None:
    """Print how a run ended. Raises RunFailed or RunCancelled where it did not succeed."""
    put(run.content(), lines_about(run), output)
    if run.status == RunStatus.FAILED:
        raised = [event for event in service.events(run.id) if event.kind == EventKind.USER_ERROR]
        if raised and raised[-1].attempt == run.attempt and "traceback" in raised[-1].facts:
            tell(str(raised[-1].facts["traceback"]).rstrip())
    check_ending(run.name, run.status, run.reason, run.message)


def check_ending(name: str, status: str, reason: str | None, message: str) -> None:
    """Raises RunFailed or RunCancelled for an end that is no success."""
    why = ": ".join(filter(None, (reason, message)))
    if status == RunStatus.FAILED:
        hint = f"see `tumbler events {name}` and `tumbler logs {name}`"
        raise RunFailed(f"run '{name}' failed: {why}", hint=hint)
    if status == RunStatus.CANCELLED:
        raise RunCancelled(f"run '{name}' was cancelled" + (f": {message}" if message else ""))
