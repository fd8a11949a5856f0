"""`tumbler watch` and `wait`: stay with a run until it has ended."""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

from cyclopts import Parameter

from api.cli.arguments import Folder, Output, Reference
from api.cli.directory_stream import directory_stream, info_of
from api.cli.errors import Usage
from api.cli.following import SHOWN_EVENTS, LineView, Story, View, check_ending, conclude, follow_run
from api.cli.output import Format, duration, put, tell
from api.cli.panel import PanelView
from api.cli.places import service_for, storage_or_default
from api.cli.progress import LiveScreen, PlainScreen
from api.cli.runs import content_of, describe
from api.client import Client
from api.client_types import RunInfo
from orchestrator.domain.errors import NotFinished, ServiceUnreachable
from orchestrator.domain.journal import read_journal
from orchestrator.domain.quantities import parse_duration
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus

_LOOK_EVERY_S = (0.2, 0.5, 1.0)
"""The longer it takes, the less often; the last one from then on."""
_AWAY_S = 120.0


def watch(run: Reference, /, *, storage: Folder = None, output: Output = Format.TABLE) -> None:
    """Show a run live until it has ended; Ctrl-C stops watching, not the run. Exits as the run ended."""
    service = service_for(run, storage)
    if service is None:
        _watch_directory(RunDirectory.open(run, storage_or_default(storage)), output)
        return
    with service:
        found = service.run(run)
        if not found.over:
            found = _followed(service, found, _view())
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
    with LiveScreen() if sys.stderr.isatty() else nullcontext() as screen:
        show = screen.update if screen is not None else _silent
        if service is None:
            found = RunDirectory.open(run, storage_or_default(storage))
            now = info_of(found, found.read_status())
            _wait(now, lambda: info_of(found, found.read_status()), until, patience_s, show=show)
            return
        with service:
            now = service.run(run)
            _wait(
                now,
                lambda: service.run(now.id),
                until,
                patience_s,
                show=show,
                sleep=service.sleep,
                monotonic=service.monotonic,
            )


def _silent(line: str) -> None:
    """Where nobody looks, waiting says nothing."""


def _followed(service: Client, run: RunInfo, view: View) -> RunInfo:
    try:
        return follow_run(service, run, view, last_id=_begin(service, run), workers=service.workers(run.id))
    except KeyboardInterrupt:
        tell(f"left run {run.name} to go on; come back with `tumbler watch {run.name}`")
        raise


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
    run: RunInfo,
    look: Callable[[], RunInfo],
    until: RunStatus | None,
    patience_s: float | None,
    *,
    show: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    began_s = heard_s = monotonic()
    looks, story = 0, Story(run)
    while True:
        try:
            story.run = run = look()
            heard_s = monotonic()
        except ServiceUnreachable:
            # A service that restarts is no reason to stop waiting for a training that goes on.
            if monotonic() - heard_s > _AWAY_S:
                raise
        else:
            if run.status == until:
                return
            if run.over:
                check_ending(run.name, run.status, run.reason, run.message)
                if until is not None and run.status != RunStatus.SUCCEEDED:
                    raise NotFinished(f"run '{run.name}' ended {run.status}, it will never be {until}")
                return
            story.pace.saw(monotonic(), run.step)
            show(f"waiting for {run.name}: {story.line()}")
        if patience_s is not None and monotonic() - began_s >= patience_s:
            raise NotFinished(
                f"run '{run.name}' is {run.status} after {duration(patience_s)}",
                hint=f"wait longer with --timeout, or see `tumbler describe {run.name}`",
            )
        pause_s = _LOOK_EVERY_S[min(looks // 10, len(_LOOK_EVERY_S) - 1)]
        left_s = pause_s if patience_s is None else patience_s - (monotonic() - began_s)
        sleep(max(0.01, min(pause_s, left_s)))
        looks += 1


def _watch_directory(run: RunDirectory, output: Format) -> None:
    story = Story(info_of(run, run.read_status()))
    if not story.run.over:
        old = sum(1 for _ in read_journal(run.outbox, "events"))
        view = _view()
        try:
            for item in directory_stream(run):
                notes = story.take(item, time.monotonic())
                for note in notes if story.newest_event > old else ():
                    view.note(note)
                view.show(story)
        finally:
            view.close()
    state = run.read_status()
    put(content_of(run, state), describe(run, state), output)
    check_ending(state.run, state.status, state.reason, state.message)


def _view() -> View:
    return PanelView() if sys.stderr.isatty() else LineView(PlainScreen())
