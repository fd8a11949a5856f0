"""A worker's hold on its writer process: requests go in, files come out, and a lost one is told."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from orchestrator.checkpoints.manifest import PartFile
from orchestrator.domain.errors import CheckpointError

_ROOT: Final = Path(__file__).resolve().parents[2]
_END_WITHIN_S: Final = 5.0


def part_file(written: Mapping[str, Any]) -> PartFile:
    """What the process says of a file, whose name counts from the place there and here from its step."""
    return PartFile(**{**written, "name": written["name"].split("/", 1)[1]})


class Writer:
    """Starts its process with the first request, and another one when that is gone. Thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None
        """Of the writer process, which is no child of ours; None until it said so."""
        self._waiting: dict[int, Future[tuple[PartFile, ...]]] = {}
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._over = threading.Event()

    def write(self, place: str, files: Sequence[dict[str, Any]]) -> Future[tuple[PartFile, ...]]:
        """Put files into a place, as `writer_process` takes them. The future raises CheckpointError; its
        callbacks run on a thread of this object."""
        return self._ask({"place": place, "files": list(files)})

    def ask(self, request: Mapping[str, Any]) -> Future[tuple[PartFile, ...]]:
        """Hold a snapshot, or forget some, as `writer_process` takes it; the future has no files."""
        return self._ask(dict(request))

    def close(self) -> None:
        """Let it write what it was asked to, and end it; nothing is held any more."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"farewell": True}).encode() + b"\n")
            process.stdin.close()
        if not self._over.wait(_END_WITHIN_S) and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._listener.join(_END_WITHIN_S)  # it must not be at work when the interpreter ends

    def _ask(self, request: dict[str, Any]) -> Future[tuple[PartFile, ...]]:
        answer: Future[tuple[PartFile, ...]] = Future()
        with self._lock:
            process = self._living()
            number = next(self._ids)
            self._waiting[number] = answer
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # whoever reads its answers tells of its end
                process.stdin.write(json.dumps({"id": number, **request}).encode() + b"\n")
                process.stdin.flush()
        return answer

    def _living(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainers.checkpoints.writer_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
            self._over = threading.Event()
            self._listener = threading.Thread(
                target=self._listen, args=(self._process, self._over), name="checkpoint-writer", daemon=True
            )
            self._listener.start()
        return self._process

    def _listen(self, process: subprocess.Popen[bytes], over: threading.Event) -> None:
        """Until the end of its answers, which is its own."""
        assert process.stdout is not None
        assert process.stdin is not None
        with process.stdout as answers:
            for line in answers:
                answer = json.loads(line)
                if "pid" in answer:
                    self.pid = answer["pid"]
                    continue
                with self._lock:
                    waiting = self._waiting.pop(answer["id"])
                if "error" in answer:
                    waiting.set_exception(CheckpointError(answer["error"]))
                else:
                    waiting.set_result(tuple(part_file(file) for file in answer["files"]))
        process.wait()  # the one that started it; it was gone at once
        with suppress(BrokenPipeError):
            process.stdin.close()
        over.set()
        with self._lock:
            if self._process not in (process, None):
                return  # another one is at work
            self._process = None
            lost, self._waiting = self._waiting, {}
        for waiting in lost.values():
            waiting.set_exception(CheckpointError("the process that writes checkpoints ended"))
