"""What a worker prints goes to the run directory too, where it is still there when the cluster is gone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


class _Tee:
    """Writes to both; a log that cannot be written must not end the training."""

    def __init__(self, stream: TextIO, log: TextIO):
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # full, or closed already
            self._log.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Copy stdout and stderr of this process to `path`, line by line, while the block runs."""
    try:
        log = path.open("a", buffering=1)
    except OSError as error:
        print(f"no log at {path}: {error}", file=sys.stderr)
        yield
        return
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Tee(sys.stdout, log), _Tee(sys.stderr, log)
    try:
        with log:
            yield
    finally:
        sys.stdout, sys.stderr = before
