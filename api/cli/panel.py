"""What `tumbler watch` shows on a terminal: the loss as a curve, workers, and what happened."""

from collections.abc import Iterable
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.console import Group as Rows
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api.cli.curve import drawn
from api.cli.following import Story
from api.cli.output import number, printable
from api.client_types import TERMINAL

_NOT_SHOWN: Final = frozenset({"step", "time", "count", "workers", "generation", "step_s", "kind", "seq"})
_FRAME: Final = 4
"""What border and padding take of the width."""
_HIGHEST: Final = 12
_ABOUT_LINES: Final = 18
"""What all but curve and border take of the height."""
_LEFT: Final = frozenset({"lost", "hung", "corrupted", "refused"})
_STATE_STYLES: Final = {
    "training": "green",
    "warm": "cyan",
    "starting": "yellow",
    **dict.fromkeys(_LEFT, "red"),
}
_GONE_SHOWN: Final = 3


class PanelView:
    """A terminal: all there is to know about one run, redrawn as it changes, in whatever size it has."""

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(
            console=console or Console(stderr=True, highlight=False), transient=True, refresh_per_second=4
        )
        self._live.start()

    def show(self, story: Story) -> None:
        self._live.update(Picture(story))

    def note(self, line: str) -> None:
        """Kept in the picture itself, among the events."""

    def close(self) -> None:
        self._live.stop()


class Picture:
    """A story as it is when it is drawn, by the width and height of then."""

    def __init__(self, story: Story) -> None:
        self._story = story

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = min(_HIGHEST, console.height - _ABOUT_LINES)
        yield panel(self._story, options.max_width, height)


def panel(story: Story, width: int = 100, height: int = 8) -> Panel:
    """Status, progress, metrics, the curve, workers and the last events."""
    run = story.run
    facts = Table.grid(padding=(0, 3, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("status", Text(run.status + (f", {run.phase}" if run.phase else "")))
    facts.add_row("", Text(story.line()))
    facts.add_row("workers", f"{run.workers.now} now, {run.workers.target} granted, up to {run.workers.max}")
    facts.add_row("", _workers(story))
    facts.add_row("generation", f"{run.generation}, attempt {run.attempt}")
    shown = {name: value for name, value in story.metrics.items() if name not in _NOT_SHOWN}
    facts.add_row("metrics", Text("  ".join(f"{name} {number(value)}" for name, value in shown.items())))
    parts: list[RenderableType] = [facts]
    if run.total_steps:
        # A bar alone has no end of line, and what follows would be lost beside it.
        parts.append(Padding(ProgressBar(total=run.total_steps, completed=story.step), 0))
    lines = drawn(story.curve.points, width - _FRAME, height)
    if lines:
        parts += [Text("loss", style="bold"), Text("\n".join(lines), style="cyan", no_wrap=True)]
    happened = "\n".join(f"{event.time[11:19]}  {printable(event.message)}" for event in story.events)
    parts.append(Text(happened, style="dim"))
    if story.trouble:
        parts.append(Text(story.trouble, style="yellow"))
    return Panel(Rows(*parts), title=f"run {run.name}", subtitle="Ctrl-C stops watching, not the run")


def _workers(story: Story) -> Text:
    """Those that are there, then those that left last, each with its state."""
    mine = [row for row in story.workers.values() if row["attempt"] == story.run.attempt]
    gone = [row for row in mine if row["state"] not in ("training", "warm", "starting")]
    there = [row for row in mine if row not in gone]
    known = there + ([] if story.run.status in TERMINAL else gone[-_GONE_SHOWN:])
    return Text("  ").join(_one_by_one(known))


def _one_by_one(rows: Iterable[dict[str, object]]) -> Iterable[Text]:
    for row in rows:
        state = str(row["state"])
        yield Text(f"{row['worker']} {state}", style=_STATE_STYLES.get(state, "dim"))
