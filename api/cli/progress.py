"""The live line about a run that trains in this process, read from its directory by a thread beside it."""

import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, redirect_stdout, suppress
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from api.cli.output import duration, number
from api.cli.ray_chatter import Aside
from orchestrator.domain.errors import StorageError
from orchestrator.domain.events import EventKind
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory

_LOOK_EVERY_S = 0.25
_SAY_EVERY_S = 5.0
WORTH_A_LINE = frozenset(
    {
        EventKind.GENERATION_STARTED,
        EventKind.WORKER_LOST,
        EventKind.WORKER_HUNG,
        EventKind.REPLICA_CORRUPTED,
        EventKind.REPLICAS_DIFFER,
        EventKind.STRAGGLER_FOUND,
        EventKind.WORKER_REFUSED,
        EventKind.WAITING_FOR_CAPACITY,
        EventKind.CHECKPOINT_SKIPPED,
        EventKind.CHECKPOINT_RESTORED,
        EventKind.STEP_SKIPPED,
        EventKind.NOT_FINITE,
        EventKind.ROLLED_BACK,
        EventKind.BAD_ROW,
        EventKind.USER_ERROR,
        EventKind.EVALUATED,
        EventKind.STOP_REQUESTED,
    }
)


class Pace:
    """How fast a run goes, over the last few seconds."""

    def __init__(self, window_s: float = 10.0) -> None:
        self._window_s = window_s
        self._seen: deque[tuple[float, int]] = deque()

    def saw(self, time_s: float, step: int) -> None:
        """`time_s` is any clock that never goes back; getting ready (step 0) is no part of the pace."""
        if step == 0:
            return
        if self._seen and step < self._seen[-1][1]:
            self._seen.clear()  # went back to a checkpoint
        if not self._seen or step > self._seen[-1][1]:
            self._seen.append((time_s, step))
        while len(self._seen) > 2 and self._seen[0][0] < time_s - self._window_s:
            self._seen.popleft()

    @property
    def steps_per_s(self) -> float | None:
        """None until two different steps were seen."""
        if len(self._seen) < 2:
            return None
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else None


class Standing(Protocol):
    """How far a run came."""

    @property
    def step(self) -> int: ...

    @property
    def total_steps(self) -> int | None: ...

    @property
    def workers(self) -> int: ...

    @property
    def phase(self) -> str: ...

    @property
    def metrics(self) -> Mapping[str, float]: ...


def progress_line(state: Standing, steps_per_s: float | None) -> str:
    """Such as `step 120/400 | loss 2.31 | 27,300 tokens/s | 2 workers | ETA 21 s`."""
    if state.step == 0:
        return state.phase or "starting"
    parts = [f"step {state.step}/{state.total_steps}" if state.total_steps else f"step {state.step}"]
    if "loss" in state.metrics:
        parts.append(f"loss {number(state.metrics['loss'])}")
    if steps_per_s and "count" in state.metrics:
        parts.append(f"{steps_per_s * state.metrics['count']:,.0f} tokens/s")
    parts.append(f"{state.workers} worker" + ("" if state.workers == 1 else "s"))
    if steps_per_s and state.total_steps:
        parts.append(f"ETA {duration((state.total_steps - state.step) / steps_per_s)}")
    if state.phase:
        parts.append(state.phase)
    return " | ".join(parts)


class Screen(Protocol):
    """Where progress is shown."""

    def update(self, line: str) -> None:
        """The newest state of things; may be passed over."""

    def note(self, line: str) -> None:
        """Something that happened, and stays to be read."""

    def close(self) -> None: ...


class LiveScreen:
    """A terminal: one line that changes, notes above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, transient=True, refresh_per_second=4)
        self._live.start()

    def update(self, line: str) -> None:
        self._live.update(Text(line, style="bold", no_wrap=True, overflow="ellipsis"))

    def note(self, line: str) -> None:
        self._console.print(Text(line))

    def close(self) -> None:
        self._live.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        self.close()


class PlainScreen:
    """A file or a pipe: a line every few seconds."""

    def __init__(self) -> None:
        self._said = ""
        self._said_s = 0.0

    def update(self, line: str) -> None:
        if line == self._said or time.monotonic() - self._said_s < _SAY_EVERY_S:
            return
        self._said, self._said_s = line, time.monotonic()
        self.note(line)

    def note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Progress(AbstractContextManager["Progress"]):
    """Shows a run while the block trains it: `train(spec, on_start=progress.follow)`.

    What is printed meanwhile becomes notes, so stdout stays free for results.
    """

    def __init__(self, screen: Screen | None = None) -> None:
        self._screen: Screen = screen or (LiveScreen() if sys.stderr.isatty() else PlainScreen())
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._redirection = redirect_stdout(Aside(self._screen.note))
        self._pace = Pace()
        self._seq = 0

    def note(self, line: str) -> None:
        self._screen.note(line)

    def update(self, line: str) -> None:
        self._screen.update(line)

    def follow(self, run: RunDirectory) -> None:
        """Show this run from now on, in a thread, until the block ends."""
        self.note(f"run {run.name} in {run.path}")
        self._seq = sum(1 for _ in read_journal(run.outbox, "events"))  # of earlier attempts
        self._thread = threading.Thread(target=self._work, args=(run,), name="progress", daemon=True)
        self._thread.start()

    def look(self, run: RunDirectory) -> None:
        """Show what is new."""
        for event in read_journal(run.outbox, "events", after_seq=self._seq):
            self._seq = event["seq"]
            if event["kind"] in WORTH_A_LINE:
                self.note(f"{event['time'][11:19]}  {event['message']}")
        state = run.read_status()
        if state.status.terminal:
            return
        self._pace.saw(time.monotonic(), state.step)
        self._screen.update(progress_line(state, self._pace.steps_per_s))

    def _work(self, run: RunDirectory) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            # What is wrong with the storage, the training itself will say.
            with suppress(StorageError):
                self.look(run)
        with suppress(StorageError):
            self.look(run)

    def __enter__(self) -> Self:
        self._redirection.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._redirection.__exit__(kind, error, traceback)
        self._screen.close()
