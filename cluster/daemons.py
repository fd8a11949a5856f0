"""The processes of one head: every one of them carries the mark that the first was started with.

Environments are inherited, so the mark finds daemons, agents, workers and drivers alike, whatever they call
themselves and whoever their parent is now. Linux only, by /proc.
"""

import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "TUMBLER_HEAD"
"""Environment variable; its value is the id of the head."""
_LOOK_EVERY_S: Final = 0.05


@dataclass(frozen=True)
class Daemon:
    """A process as it was started, so that it can be started again."""

    pid: int
    command: tuple[str, ...]
    env: Mapping[str, str]


def daemons_of(head_id: str) -> list[Daemon]:
    """All living processes with the mark of this head."""
    needle = f"{MARK}={head_id}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            if needle not in environment or _is_zombie(folder):
                continue
            command = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            pairs = (entry.decode(errors="replace").partition("=") for entry in environment if entry)
            found.append(Daemon(int(folder.name), tuple(command), {name: value for name, _, value in pairs}))
    return found


def end_all(head_id: str, *, patience_s: float) -> None:
    """SIGTERM, then SIGKILL to whatever is left, until nothing with the mark lives."""
    _signal(daemons_of(head_id), signal.SIGTERM)
    until_s = time.monotonic() + patience_s
    while (left := daemons_of(head_id)) and time.monotonic() < until_s:
        time.sleep(_LOOK_EVERY_S)
    while left:
        _signal(left, signal.SIGKILL)
        time.sleep(_LOOK_EVERY_S)
        left = daemons_of(head_id)


def _signal(daemons: Iterable[Daemon], number: signal.Signals) -> None:
    for daemon in daemons:
        with suppress(ProcessLookupError):
            os.kill(daemon.pid, number)


def _is_zombie(folder: Path) -> bool:
    return (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
