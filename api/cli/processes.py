"""Processes by id and start time: ids are used again."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_LOOK_EVERY_S = 0.05


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did; None where that cannot be known."""
    try:
        # After the name, which may hold anything: state is field 3, starttime field 22.
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def is_alive(pid: int, ticks: float | None, *, calls: str = "") -> bool:
    """Whether a process is still the one that began then, and has `calls` on its command line."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass
    except (OSError, OverflowError):
        return False
    if not Path("/proc/self").exists():
        return True
    now = start_ticks(pid)
    if now is None or (ticks is not None and now != ticks):
        return False
    try:
        return calls.encode() in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False


def end(pid: int, lives: Callable[[], bool], *, patience_s: float) -> bool:
    """SIGTERM, and SIGKILL when patience is over; False where it lives even then."""
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        until_s = time.monotonic() + wait_s
        while lives() and time.monotonic() < until_s:
            time.sleep(_LOOK_EVERY_S)
        if not lives():
            return True
    return False
