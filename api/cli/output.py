"""What commands print: results on stdout in the format asked for, everything else on stderr."""

import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 10_000
"""Columns where nobody looks at a screen: nothing is cut off."""
_STYLES = {
    "RUNNING": "green",
    "SUCCEEDED": "green",
    "ok": "green",
    "FAILED": "red",
    "problem": "red",
    "CANCELLED": "yellow",
    "warning": "yellow",
}


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True)
class Columns:
    """A table for people."""

    names: Sequence[str]
    rows: Sequence[Sequence[object]]
    empty: str = "nothing to show"
    """Said on stderr where there are no rows."""


def put(content: Any, shown: "Columns | Mapping[str, object]", output: Format) -> None:
    """Print a result: `content` for programs, `shown` for people."""
    match output:
        case Format.JSON:
            print(json.dumps(_plain(content), indent=2), flush=True)
        case Format.YAML:
            print(_as_yaml(_plain(content)), end="", flush=True)
        case Format.TABLE:
            put_table(shown)
        case _:
            assert_never(output)


def put_table(shown: "Columns | Mapping[str, object]") -> None:
    """A table, or one line per field; None is left empty."""
    if isinstance(shown, Columns) and not shown.rows:
        tell(shown.empty)
        return
    table = Table(box=None, pad_edge=False, show_header=isinstance(shown, Columns), padding=(0, 2, 0, 0))
    if isinstance(shown, Columns):
        for name in shown.names:
            table.add_column(name.upper(), overflow="fold")
        rows = shown.rows
    else:
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        rows = list(shown.items())
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    with console.capture() as capture:
        console.print(table)
    # Rich fills every line up to the width of its column.
    print("\n".join(line.rstrip() for line in capture.get().splitlines()), flush=True)


def put_line(content: Mapping[str, Any]) -> None:
    """One JSON object on one line, for streams of them."""
    print(json.dumps(_plain(content)), flush=True)


def tell(message: str) -> None:
    """One line to the person at the terminal, on stderr."""
    print(message, file=sys.stderr, flush=True)


def number(value: object) -> str:
    """A metric as people read it: four significant digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def size(num_bytes: float) -> str:
    """Such as `12.3 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if abs(num_bytes) < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def duration(seconds: float) -> str:
    """Such as `9 s`, `1:05` or `2:03:04`."""
    whole = max(0, round(seconds))
    minutes, left = divmod(whole, 60)
    if minutes == 0:
        return f"{left} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def printable(text: str) -> str:
    """The same without what could upset a terminal: control characters but for line ends and tabs."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def _cell(value: object) -> Text:
    text = "" if value is None else str(value)
    return Text(text, style=_STYLES.get(text, ""))


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity; as strings they survive, and they are worth showing."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _as_yaml(value: Any) -> str:
    # Only here: nobody who asks for a table should wait for it.
    from ruamel.yaml import YAML

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    stream = io.StringIO()
    writer.dump(value, stream)
    return stream.getvalue()
