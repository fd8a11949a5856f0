"""How a worker saves its parts of the state without holding up training.

Between two optimizer steps nothing changes the state, so a thread copies it beside the next forward and
backward passes; whoever changes it waits for the copy (`TrainState.settle`). The copy lies in memory that the
writer process shares: there it is held as a snapshot, and, where a checkpoint is due, put into storage.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final, Protocol

from orchestrator.checkpoints.manifest import PartFile
from orchestrator.domain.errors import CheckpointError
from orchestrator.domain.shards import owned_shards
from trainers.checkpoints.arena import Arena
from trainers.checkpoints.copying import Origin, Save, failed
from trainers.checkpoints.held import Holding
from trainers.checkpoints.image import StateImage
from trainers.checkpoints.writer import Writer
from trainers.elastic.messages import CheckpointFailed, PartsWritten
from trainers.elastic.state import TrainState

_PATIENCE_S: Final = 1.0
"""How long training waits for a free slot, where checkpoints follow each other faster than they are
written; once, and not again before one was free."""
_LAST_WITHIN_S: Final = 600.0
_TRY_AGAIN_AFTER_S: Final = (1.0, 3.0, 7.0)


Saved = PartsWritten | CheckpointFailed


class Writes(Protocol):
    """What a Saver wants of a Writer."""

    def write(self, place: str, files: Sequence[dict[str, Any]]) -> Future[tuple[PartFile, ...]]: ...

    def ask(self, request: Mapping[str, Any]) -> Future[tuple[PartFile, ...]]: ...

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
        holding: Holding | None = None,
    ) -> None:
        """Without `holding` no snapshots are held."""
        self._state = state
        self._place = place
        self._num_shards = num_shards
        self._report = report
        self._writer = writer or Writer()
        self._holding = holding
        self._copying = ThreadPoolExecutor(1, "checkpoint-copy")
        self._arena: Arena | None = None
        self._prepared_for: object = None
        self._touching: Future[None] | None = None
        self._keeps_up = True
        """There was a free slot for the newest checkpoint."""
        self.copy_s = 0.0
        """How long the newest copy took."""

    @property
    def ready(self) -> bool:
        """Whether snapshots can be held, and the memory for them is there."""
        return self._holding is not None and (self._touching is None or self._touching.done())

    def begin(self, origin: Origin, patience_s: float | None = None) -> "Future[Saved]":
        """Save the parts of this member's logical shards; returns while they are being copied.

        Waits for a free slot for `patience_s`; a second by default, if there was one for the checkpoint
        before. Never raises: what goes wrong is in the future, and reported.
        """
        saved: Future[Saved] = Future()
        saved.add_done_callback(lambda done: self._report(done.result()))
        try:
            if patience_s is None:
                patience_s = _PATIENCE_S if self._keeps_up else 0.0
            save = self._prepared(origin, patience_s)
            self._keeps_up = save is not None
            if save is None:
                raise CheckpointError("those before it are still being written; is the storage slow?")
        except (CheckpointError, OSError) as error:
            saved.set_result(failed(origin, self._state.step, error))
            return saved
        self._copy(save, lambda error: self._write(save, error, saved))
        return saved

    def snapshot(self, origin: Origin) -> bool:
        """Hold a copy of the parts in memory, until newer ones are there; returns while they are being
        copied.

        False where none is held: checkpoints are on their way from all of the memory, or the state is one
        that cannot be saved.
        """
        try:
            save = self._prepared(origin, 0.0) if self._holding is not None else None
        except (CheckpointError, OSError):
            return False  # a checkpoint says why
        if save is not None:
            self._copy(save, lambda error: save.arena.give_back(save.slot))
        return save is not None

    def prepare(self, origin: Origin) -> None:
        """Get hold of the memory that snapshots will need, beside training; again where that changed."""
        key = (origin.rank, origin.world_size, origin.wards)
        if self._holding is None or self._prepared_for == key:
            return
        self._prepared_for = key
        try:
            image = StateImage(self._state.snapshot(), self._num_shards)
            arena = self._arena_for(image)
        except (CheckpointError, OSError):
            return
        ranges = [(image.cut(first), image.cut(last)) for first, last in self._ranges(origin)]
        if not self._holding.has_room(sum(end - begin for begin, end in ranges)):
            self._holding = None
            return
        if not arena.holds:
            self._touching = self._copying.submit(_touch, arena, ranges)

    def forget(self, after: int) -> None:
        """Snapshots of later steps are not to be trusted."""
        if self._holding is not None:
            self._state.settle()
            self._writer.ask({"forget_after": after})

    def finish(self, origin: Origin) -> PartsWritten | None:
        """Save, and wait until that is written; again where storage refuses it.

        None where it does so for some ten seconds, or does not answer in ten minutes.
        """
        for pause_s in (*_TRY_AGAIN_AFTER_S, 0.0):
            saved = self.begin(origin, _LAST_WITHIN_S)
            wait([saved], _LAST_WITHIN_S)
            if not saved.done():
                return None
            result = saved.result()
            if isinstance(result, PartsWritten):
                return result
            time.sleep(pause_s)
        return None

    def close(self) -> None:
        """What was begun is written; nothing is held any more."""
        self._state.settle()
        self._copying.shutdown()
        self._writer.close()

    def _prepared(self, origin: Origin, patience_s: float) -> "Save | None":
        """Ready to be copied; None where no slot is free in time."""
        self._state.settle()  # it can hold but one reader
        image = StateImage(self._state.snapshot(), self._num_shards)
        arena = self._arena_for(image)
        slot = arena.take(patience_s)
        if slot is None:
            return None
        point = self._state.newest_point
        hashes: tuple[str | None, str | None] = (None, None)
        if point is not None and point.step == self._state.step:
            hashes = (point.parameters_sha256, point.optimizer_sha256)
        return Save(
            origin=origin,
            step=self._state.step,
            ranges=self._ranges(origin),
            image=image,
            arena=arena,
            slot=slot,
            hashes=hashes,
            metrics=dict(self._state.metrics or {}),
        )

    def _ranges(self, origin: Origin) -> tuple[tuple[int, int], ...]:
        """Logical shards whose parts are copied, this member's own first."""
        wards = origin.wards if self._holding is not None else ()
        return tuple(
            owned_shards(self._num_shards, rank, origin.world_size) for rank in (origin.rank, *wards)
        )

    def _arena_for(self, image: StateImage) -> Arena:
        if self._arena is not None and self._arena.num_bytes != image.num_bytes:
            if not self._arena.close(_PATIENCE_S):
                raise CheckpointError("those before it are still being written; is the storage slow?")
            self._arena = None
        self._arena = self._arena or Arena(image.num_bytes)
        return self._arena

    def _copy(self, save: "Save", then: Callable[[BaseException | None], None]) -> None:
        copied = self._copying.submit(save.copy)
        self._state.reading = copied.exception  # which waits, and raises nothing

        def done(copied: "Future[float]") -> None:
            error = copied.exception()
            if error is None:
                self.copy_s = copied.result()
                self._hold(save)
            then(error)

        copied.add_done_callback(done)

    def _hold(self, save: "Save") -> None:
        if self._holding is None or not save.step:
            return
        save.arena.share(save.slot)
        save.arena.hold(save.slot)
        request = self._holding.request(save.held(self._holding.fingerprint))
        self._writer.ask(request).add_done_callback(lambda held: save.arena.give_back(save.slot))

    def _write(self, save: "Save", error: BaseException | None, saved: "Future[Saved]") -> None:
        if error is not None:
            save.arena.give_back(save.slot)
            saved.set_result(save.failed(error))
            return

        def done(written: Future[tuple[PartFile, ...]]) -> None:
            save.arena.give_back(save.slot)
            error = written.exception()
            saved.set_result(save.told(written.result()) if error is None else save.failed(error))

        self._writer.write(self._place, save.files()).add_done_callback(done)


def _touch(arena: Arena, ranges: Sequence[tuple[int, int]]) -> None:
    """The memory of the two slots in which snapshots lie in turn."""
    slots = [slot for slot in (arena.take(0.0), arena.take(0.0)) if slot is not None]
    for slot in slots:
        for begin, end in ranges:
            arena.touch(slot, begin, end)
    for slot in slots:
        arena.give_back(slot)
