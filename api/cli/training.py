"""`tumbler run`: train in this process, without a service."""

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from api.cli.arguments import Output, Overrides, SpecFile
from api.cli.main import EXIT_INTERRUPTED
from api.cli.output import Format, put, tell
from api.cli.progress import Progress
from api.cli.runs import content_of, describe
from orchestrator.domain.errors import RunCancelled, RunFailed, SpecError
from orchestrator.domain.events import EventKind
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec_file import load_source
from orchestrator.domain.status import EndReason
from trainers.main import train


def run(
    file: SpecFile,
    *,
    overrides: Overrides = (),
    resume: Annotated[bool, Parameter(negative="")] = False,
    num_cpus: PositiveInt | None = None,
    output: Output = Format.TABLE,
) -> int:
    """Train what the spec says, on a local Ray or that of RAY_ADDRESS, until the run has ended.

    Ctrl-C stops it politely, with a last checkpoint; --resume goes on from there.

    Parameters
    ----------
    resume
        Go on with the run of this name, from its newest checkpoint.
    num_cpus
        How many CPUs a local Ray is told to have; more than there are is allowed.
    """
    source = load_source(file, overrides)
    started: list[RunDirectory] = []
    with noticing_ctrl_c() as pressed:
        try:
            with Progress() as progress:
                progress.update("checking the spec, preparing data, starting Ray")

                def on_start(run: RunDirectory) -> None:
                    started.append(run)
                    progress.follow(run)

                train(source.spec, resume=resume, num_cpus=num_cpus, on_start=on_start)
        except SpecError as error:
            raise source.placed(error) from error
        except RunCancelled:
            _conclude(started[0], output)
            if not pressed():
                raise
            tell(f"stopped by Ctrl-C; go on with `{_resuming(file, overrides, started[0].name)}`")
            return EXIT_INTERRUPTED
        except RunFailed as error:
            _conclude(started[0], output)
            show_users_error(started[0])
            error.hint = (
                error.hint or f"see `tumbler events {started[0].path}` and `tumbler logs {started[0].path}`"
            )
            raise
    _conclude(started[0], output)
    return 0


@contextmanager
def noticing_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Says whether SIGINT came, whoever handles it; always no outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    seen = bytearray()

    def pressed() -> bool:
        with suppress(BlockingIOError):
            seen.extend(os.read(reader, 1024))
        return signal.SIGINT in seen

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield pressed
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _resuming(file: Path, overrides: Sequence[str], name: str) -> str:
    settings = [*(o for o in overrides if o.partition("=")[0].strip() != "name"), f"name={name}"]
    return shlex.join(
        ["tumbler", "run", "-f", str(file), *(w for o in settings for w in ("--set", o)), "--resume"]
    )


def _conclude(run: RunDirectory, output: Format) -> None:
    state = run.read_status()
    put(content_of(run, state), describe(run, state), output)


def show_users_error(run: RunDirectory) -> None:
    """The traceback of the user's own code, from its first frame on, where that is what failed.

    Where the spec was refused its sentence is enough.
    """
    if run.read_status().reason is EndReason.SPEC_REFUSED:
        return
    raised = [event for event in read_journal(run.outbox, "events") if event["kind"] == EventKind.USER_ERROR]
    if raised and raised[-1]["attempt"] == run.record().attempt:
        tell(raised[-1]["traceback"].rstrip())
