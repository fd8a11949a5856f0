"""What a writer process is asked for: lines of JSON on its standard input. Imports no torch."""

import json
import os
import select
from collections.abc import Iterator
from typing import Any, Final

_STDIN: Final = 0
_AT_ONCE: Final = 1 << 20


class Requests:
    """In their order, until the input ends."""

    def __init__(self, file: int = _STDIN) -> None:
        self._file = file
        self._unread = b""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            line, end, rest = self._unread.partition(b"\n")
            if end:
                self._unread = rest
                yield json.loads(line)
                continue
            more = os.read(self._file, _AT_ONCE)
            if not more:
                return
            self._unread += more

    def rest(self, seconds: float) -> None:
        """Do nothing for so long; not at all where the next one waits, or the worker is gone."""
        if b"\n" not in self._unread:
            select.select([self._file], [], [], seconds)
