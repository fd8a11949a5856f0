"""What Ray prints into the driver's stdout, kept out of the results."""

import io
from collections.abc import Callable

_KNOWN_BETTER = "A worker died or was killed while executing a task"
"""Ray's half page about each lost worker, of which an event of the run tells in one line."""


class Aside(io.TextIOBase):
    """A stdout whose whole lines go to `note`, but for those that say what is known better."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._pending = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            if line.strip() and _KNOWN_BETTER not in line:
                self._note(line)
        return len(text)
