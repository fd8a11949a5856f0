"""Starting the processes of a peer and leaving none behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 20.0


def python_module(*arguments: str) -> list[str]:
    """The command `python -m ARGUMENTS` for this interpreter."""
    return [sys.executable, "-m", *arguments]


def start(
    command: Sequence[str], output: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A process in a session of its own, with one thread per worker; appends what it prints to `output`."""
    with output.open("ab") as file:
        return subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(env or {})},
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, so that it can stop what it started; after `STOP_S` SIGKILL to its whole session."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def running(
    command: Sequence[str], output: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """As `start`, and stopped when the context is left."""
    process = start(command, output, env)
    try:
        yield process
    finally:
        stop(process)
