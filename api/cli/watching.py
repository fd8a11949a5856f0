"""`tumbler watch` and `wait`: stay with a run until it has ended."""

import sys
import time
from collections.abc import Callable
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api.cli.arguments import Folder, Output, Reference
from api.cli.errors import Usage
from api.cli.following import SHOWN_EVENTS, LineView, Story, View, check_ending, conclude, follow_run
from api.cli.output import Format, duration, number, put
from api.cli.places import service_for, storage_or_default
from api.cli.progress import PlainScreen, Progress
from api.cli.runs import content_of, describe
from api.client import Client
from api.client_types import TERMINAL, RunInfo
from orchestrator.domain.errors import NotFinished, ServiceUnreachable
from orchestrator.domain.quantities import parse_duration
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus

_LOOK_EVERY_S = (0.2, 0.5, 1.0)
"""The longer it takes, the less often; the last one from then on."""
_AWAY_S = 120.0
_NOT_SHOWN = frozenset({"step", "time", "count", "workers", "generation", "step_s", "kind", "seq"})


def watch(run: Reference, /, *, storage: Folder = None, output: Output = Format.TABLE) -> None:
    """Show a run live until it has ended; Ctrl-C stops watching, not the run. Exits as the run ended."""
    service = service_for(run, storage)
    if service is None:
        _watch_directory(RunDirectory.open(run, storage_or_default(storage)), output)
        return
    with service:
        found = service.run(run)
        if not found.over:
            view: View = PanelView() if sys.stderr.isatty() else LineView(PlainScreen())
            found = follow_run(service, found, view, last_id=_begin(service, found))
        conclude(service, found, output)


def wait(
    run: Reference,
    /,
    *,
    timeout: str | None = None,
    until: Annotated[RunStatus | None, Parameter(name=["--for"])] = None,
    storage: Folder = None,
) -> None:
    """Wait until a run has ended, and exit as it did: 0, 100 failed, 103 cancelled, 101 for not in time.

    Parameters
    ----------
    timeout
        Such as 90s, 10m or 2h; without end unless given.
    until
        Be content with this status too, such as running or paused.
    """
    service = service_for(run, storage)
    patience_s = _seconds(timeout)
    if service is None:
        found = RunDirectory.open(run, storage_or_default(storage))

        def look() -> tuple[str, str, str | None, str]:
            state = found.read_status()
            return state.run, state.status, state.reason, state.message

        _wait(look, until, patience_s, sleep=time.sleep, monotonic=time.monotonic)
        return
    with service:
        run_id = service.run(run).id

        def ask() -> tuple[str, str, str | None, str]:
            now = service.run(run_id)
            return now.name, now.status, now.reason, now.message

        _wait(ask, until, patience_s, sleep=service.sleep, monotonic=service.monotonic)


def _begin(service: Client, run: RunInfo) -> str:
    """From where a stream is worth watching: the last few events, not the first thousand."""
    newest = max((event.seq for event in service.events(run.id)), default=0)
    return f"{max(0, newest - SHOWN_EVENTS)}.0"


def _seconds(timeout: str | None) -> float | None:
    try:
        return None if timeout is None else parse_duration(timeout)
    except ValueError as error:
        raise Usage(f"--timeout: {error}") from None


def _wait(
    look: Callable[[], tuple[str, str, str | None, str]],
    until: RunStatus | None,
    patience_s: float | None,
    *,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
) -> None:
    """`look` says name, status, reason and message."""
    began_s = heard_s = monotonic()
    looks, name, status = 0, "", "unknown"
    while True:
        try:
            name, status, reason, message = look()
            heard_s = monotonic()
        except ServiceUnreachable:
            # A service that restarts is no reason to stop waiting for a training that goes on.
            if monotonic() - heard_s > _AWAY_S:
                raise
        else:
            if status == until:
                return
            if status in TERMINAL:
                check_ending(name, status, reason, message)
                if until is not None and status != RunStatus.SUCCEEDED:
                    raise NotFinished(f"run '{name}' ended {status}, it will never be {until}")
                return
        if patience_s is not None and monotonic() - began_s >= patience_s:
            raise NotFinished(
                f"run '{name}' is {status} after {duration(patience_s)}",
                hint=f"wait longer with --timeout, or see `tumbler describe {name}`",
            )
        pause_s = _LOOK_EVERY_S[min(looks // 10, len(_LOOK_EVERY_S) - 1)]
        left_s = pause_s if patience_s is None else patience_s - (monotonic() - began_s)
        sleep(max(0.01, min(pause_s, left_s)))
        looks += 1


class PanelView:
    """A terminal: all there is to know about one run, redrawn as it changes."""

    def __init__(self, console: Console | None = None) -> None:
        self._notes: list[str] = []
        self._live = Live(
            console=console or Console(stderr=True, highlight=False), transient=True, refresh_per_second=4
        )
        self._live.start()

    def show(self, story: Story) -> None:
        self._live.update(panel(story))

    def note(self, line: str) -> None:
        self._live.console.print(Text(line))

    def close(self) -> None:
        self._live.stop()


def panel(story: Story) -> Panel:
    """Status, progress, metrics, workers and the last events."""
    run = story.run
    facts = Table.grid(padding=(0, 3, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    facts.add_row("status", Text(run.status + (f", {run.phase}" if run.phase else "")))
    facts.add_row("", Text(story.line()))
    facts.add_row("workers", f"{run.workers.now} now, {run.workers.target} granted, up to {run.workers.max}")
    facts.add_row("generation", f"{run.generation}, attempt {run.attempt}")
    shown = {name: value for name, value in story.metrics.items() if name not in _NOT_SHOWN}
    facts.add_row("metrics", Text("  ".join(f"{name} {number(value)}" for name, value in shown.items())))
    bar = ProgressBar(total=run.total_steps, completed=story.step) if run.total_steps else Text("")
    happened = Text("\n".join(f"{event.time[11:19]}  {event.message}" for event in story.events), style="dim")
    return Panel(Group(facts, bar, happened), title=f"run {run.name}", subtitle="Ctrl-C stops watching")


def _watch_directory(run: RunDirectory, output: Format) -> None:
    with Progress() as progress:
        progress.follow(run)
        while not run.read_status().status.terminal:
            time.sleep(_LOOK_EVERY_S[0])
    state = run.read_status()
    put(content_of(run, state), describe(run, state), output)
    check_ending(state.run, state.status, state.reason, state.message)
