"""Progress bars with the time left, for what takes a while: on a terminal only, and on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Told how many bytes were done since it was told last."""


@contextmanager
def bytes_bar(what: str, total: int | None) -> Iterator[Advance]:
    """A bar while the body works; without a total it says how much there was."""
    if not sys.stderr.isatty():
        yield lambda num_bytes: None
        return
    # A few hundredths of a second, which other commands need not wait for.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda num_bytes: progress.advance(task, num_bytes)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Something of which nobody knows how much is left: it says since when it lasts."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield
