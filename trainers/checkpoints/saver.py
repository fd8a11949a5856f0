"""How a worker saves its parts of the state without holding up training.

Between two optimizer steps nothing changes the state, so a thread copies it beside the next forward and
backward passes; whoever changes it waits for the copy (`TrainState.settle`). The copy lies in memory that the
writer process shares, which checksums it and puts it into storage.
"""

import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final, Protocol

from orchestrator.checkpoints.manifest import PartFile, parts_folder, step_folder
from orchestrator.domain.errors import CheckpointError
from orchestrator.domain.shards import owned_shards
from trainers.checkpoints.arena import Arena
from trainers.checkpoints.image import StateImage, header
from trainers.checkpoints.writer import Writer
from trainers.elastic.messages import CheckpointFailed, PartsWritten
from trainers.elastic.state import TrainState

_PATIENCE_S: Final = 1.0
"""How long training waits for a free slot, where checkpoints follow each other faster than they are
written."""
_LAST_WITHIN_S: Final = 600.0
_TRY_AGAIN_AFTER_S: Final = (1.0, 3.0, 7.0)


@dataclass(frozen=True)
class Origin:
    """Who saves: part of the names of all that is written, so that nobody overwrites what another wrote."""

    worker_id: str
    attempt: int
    generation: int
    rank: int
    world_size: int
    ask: int = 0
    """That the checkpoint answers; 0 where it is due by itself."""


Saved = PartsWritten | CheckpointFailed


class Writes(Protocol):
    """What a Saver wants of a Writer."""

    def write(self, place: str, files: Sequence[dict[str, Any]]) -> Future[tuple[PartFile, ...]]: ...

    def close(self) -> None: ...


class Saver:
    """Of one worker. What it has written, or why not, it tells `report`, on a thread of its own."""

    def __init__(
        self,
        state: TrainState,
        place: str,
        num_shards: int,
        report: Callable[[Saved], None],
        writer: Writes | None = None,
    ) -> None:
        self._state = state
        self._place = place
        self._num_shards = num_shards
        self._report = report
        self._writer = writer or Writer()
        self._copying = ThreadPoolExecutor(1, "checkpoint-copy")
        self._arena: Arena | None = None

    def begin(self, origin: Origin) -> "Future[Saved]":
        """Save the parts of this member's logical shards; returns while they are being copied.

        Never raises: what goes wrong is in the future, and reported.
        """
        saved: Future[Saved] = Future()
        saved.add_done_callback(lambda done: self._report(done.result()))
        try:
            save = self._prepared(origin)
        except (CheckpointError, OSError) as error:
            saved.set_result(_failed(origin, self._state.step, error))
            return saved
        copied = self._copying.submit(save.copy)
        self._state.reading = copied.exception  # which waits, and raises nothing
        copied.add_done_callback(lambda done: self._write(save, done, saved))
        return saved

    def finish(self, origin: Origin) -> PartsWritten | None:
        """Save, and wait until that is written; again where storage refuses it.

        None where it does so for some ten seconds, or does not answer in ten minutes.
        """
        for pause_s in (*_TRY_AGAIN_AFTER_S, 0.0):
            saved = self.begin(origin)
            wait([saved], _LAST_WITHIN_S)
            if not saved.done():
                return None
            result = saved.result()
            if isinstance(result, PartsWritten):
                return result
            time.sleep(pause_s)
        return None

    def close(self) -> None:
        self._state.settle()
        self._copying.shutdown()
        self._writer.close()

    def _prepared(self, origin: Origin) -> "_Save":
        self._state.settle()  # it can hold but one reader
        image = StateImage(self._state.snapshot(), self._num_shards)
        arena, slot = self._slot(image.num_bytes)
        point = self._state.newest_point
        hashes: tuple[str | None, str | None] = (None, None)
        if point is not None and point.step == self._state.step:
            hashes = (point.parameters_sha256, point.optimizer_sha256)
        first, last = owned_shards(self._num_shards, origin.rank, origin.world_size)
        return _Save(
            origin=origin,
            step=self._state.step,
            first=first,
            last=last,
            image=image,
            arena=arena,
            slot=slot,
            hashes=hashes,
            metrics=dict(self._state.metrics or {}),
        )

    def _slot(self, num_bytes: int) -> tuple[Arena, int]:
        try:
            if self._arena is not None and self._arena.num_bytes != num_bytes:
                self._arena.close(_PATIENCE_S)
                self._arena = None
            self._arena = self._arena or Arena(num_bytes)
            return self._arena, self._arena.take(_PATIENCE_S)
        except queue.Empty:
            raise CheckpointError("those before it are still being written; is the storage slow?") from None

    def _write(self, save: "_Save", copied: "Future[None]", saved: "Future[Saved]") -> None:
        error = copied.exception()
        if error is not None:
            save.arena.give_back(save.slot)
            saved.set_result(save.failed(error))
            return

        def done(written: Future[tuple[PartFile, ...]]) -> None:
            save.arena.give_back(save.slot)
            error = written.exception()
            saved.set_result(save.told(written.result()) if error is None else save.failed(error))

        self._writer.write(self._place, save.files()).add_done_callback(done)


@dataclass(frozen=True)
class _Save:
    """One step's parts of one member, on their way."""

    origin: Origin
    step: int
    first: int
    last: int
    image: StateImage
    arena: Arena
    slot: int
    hashes: tuple[str | None, str | None]
    metrics: dict[str, float]

    def copy(self) -> None:
        self.arena.fill(self.slot, list(self.image.slices(self.first, self.last)))

    def files(self) -> list[dict[str, Any]]:
        """What the writer process is asked for."""
        folder = f"{step_folder(self.step)}/{parts_folder(self.origin.attempt, self.origin.generation)}"
        start, stop = self.image.cut(self.first), self.image.cut(self.last)
        part = {
            "name": f"{folder}/part-{self.first:03d}-{self.last:03d}.safetensors",
            "text": header(list(self.image.slices(self.first, self.last)), start).decode("latin-1"),
            "memory": self.arena.path,
            "start": self.arena.offset(self.slot) + start,
            "size": stop - start,
        }
        structure = {"name": f"{folder}/structure.json", "text": self.image.structure}
        return [part] if self.origin.rank else [part, structure]

    def told(self, files: tuple[PartFile, ...]) -> PartsWritten:
        parameters, optimizer = self.hashes
        return PartsWritten(
            worker_id=self.origin.worker_id,
            attempt=self.origin.attempt,
            generation=self.origin.generation,
            step=self.step,
            first=self.first,
            last=self.last,
            files=tuple((file.name, file.size, file.xxh3) for file in files),
            parameters_sha256=parameters,
            optimizer_sha256=optimizer,
            metrics=self.metrics,
            ask=self.origin.ask,
        )

    def failed(self, error: BaseException) -> CheckpointFailed:
        return _failed(self.origin, self.step, error)


def _failed(origin: Origin, step: int, error: BaseException) -> CheckpointFailed:
    reason = f"the checkpoint of step {step} was not written: {error}"
    return CheckpointFailed(origin.worker_id, origin.generation, step, reason, origin.ask)
