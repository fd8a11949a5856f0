"""The writer process's hold on the snapshots of its worker, and how long it stays when that one is gone."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import xxhash

from orchestrator.domain.errors import TumblerError
from trainers.checkpoints.held import HELD, Held, Piece, held_in, open_folder, write_index
from trainers.checkpoints.memories import Memories

_STAY_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.5
_CHUNK: Final = 1 << 20
_SHARE: Final = 0.01
"""Of a core, given to checksums while nobody waits for them: all at once they are felt by the step that
trains beside them, where no core is free."""


class Shelf:
    """Of one process, which serves one worker of one run."""

    def __init__(self, rest: Callable[[float], None] = time.sleep) -> None:
        """`rest` waits for so many seconds, or less where something else is to be done."""
        self._rest = rest
        self._held: list[Held] = []
        """Oldest first."""
        self._memories = Memories()
        self._index: Path | None = None
        self._run_folder = ""

    def hold(self, request: dict[str, Any]) -> None:
        """Checksum what lies in a slot, at leisure, and say that it is held. Raises OSError."""
        held = Held.load(request["held"])
        whole = self.memory(held.name, held.memory)
        pieces = tuple(replace(piece, xxh3=self._digest(whole, piece)) for piece in held.pieces)
        held = replace(held, memory=self._memories.path(held.name), pieces=pieces)
        self._run_folder = request["run_folder"]
        self._index = Path(request["folder"]) / f"{os.getpid()}.json"
        others = [one for one in self._held if (one.name, one.slot) != (held.name, held.slot)]
        self._say([*others, held][-HELD:])

    def forget(self, after: int) -> None:
        """What was held of later steps is not to be trusted."""
        self._say([held for held in self._held if held.step <= after])

    def stay(self) -> None:
        """Until nobody can need what is held: the run is over, newer ones are here, or a minute went by."""
        until = time.monotonic() + _STAY_S
        while self._held and time.monotonic() < until and not self._superseded() and not self._over():
            time.sleep(_LOOK_EVERY_S)

    def close(self) -> None:
        if self._index is not None:
            with suppress(OSError):
                self._index.unlink(missing_ok=True)
                self._index.parent.rmdir()

    def memory(self, name: str, path: str) -> memoryview:
        """Opened when the worker first names it; those of which nothing is held any more are let go. Raises
        OSError."""
        if name not in self._memories.names:
            for old in set(self._memories.names) - {one.name for one in self._held[-1:]}:
                self._memories.let_go(old)
                self._held = [one for one in self._held if one.name != old]
        return self._memories.view(name, path)

    def _digest(self, whole: memoryview, piece: Piece) -> str:
        """XXH3-128 of what lies there, in hex."""
        digest, end = xxhash.xxh3_128(), piece.start + piece.size
        for start in range(piece.start, end, _CHUNK):
            begun = time.thread_time()
            with whole[start : min(start + _CHUNK, end)] as chunk:
                digest.update(chunk)
            self._rest((time.thread_time() - begun) * (1 / _SHARE - 1))
        return digest.hexdigest()

    def _say(self, held: list[Held]) -> None:
        self._held = held
        if self._index is not None:
            open_folder(self._index.parent)
            write_index(self._index, held)

    def _superseded(self) -> bool:
        """Others on this node hold two newer ones, so that no step of ours is the newest that is whole."""
        assert self._index is not None
        newest = self._held[-1].step
        return len({held.step for held in held_in(self._index.parent) if held.step > newest}) >= HELD

    def _over(self) -> bool:
        # Imported where it is needed: most processes end with their worker.
        from orchestrator.domain.run_directory import RunDirectory
        from orchestrator.domain.status import ENDINGS, RunStatus

        try:
            state = RunDirectory(Path(self._run_folder)).read_status()
        except (TumblerError, OSError):
            return True  # it was removed
        if not state.status.terminal and state.status is not RunStatus.PAUSED:
            return False
        # Without a service a run that lost its controller has failed, until its user resumes it.
        return state.reason is None or ENDINGS[state.reason].status is not RunStatus.QUEUED
