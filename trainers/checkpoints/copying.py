"""One step's parts of one member: from its state into shared memory, and on to whoever writes or holds
them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.checkpoints.manifest import PartFile, parts_folder, step_folder
from trainers.checkpoints.arena import Arena
from trainers.checkpoints.held import Held, Piece
from trainers.checkpoints.image import StateImage, header
from trainers.elastic.messages import CheckpointFailed, PartsWritten


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
    wards: tuple[int, ...] = ()
    """Ranks on other nodes whose parts are held here too."""


@dataclass(frozen=True)
class Save:
    """One step's parts of one member, on their way."""

    origin: Origin
    step: int
    ranges: tuple[tuple[int, int], ...]
    """Half-open, of logical shards; the first is what this member writes."""
    image: StateImage
    arena: Arena
    slot: int
    hashes: tuple[str | None, str | None]
    metrics: dict[str, float]

    def copy(self) -> float:
        """Returns how long it took, in seconds."""
        begun = time.perf_counter()
        for first, last in self.ranges:
            self.arena.fill(self.slot, self.image.slices(first, last))
        return time.perf_counter() - begun

    def held(self, fingerprint: str) -> Held:
        return Held(
            fingerprint=fingerprint,
            attempt=self.origin.attempt,
            generation=self.origin.generation,
            step=self.step,
            num_shards=self.image.num_shards,
            slot=self.slot,
            memory=self.arena.path,
            name=self.arena.name,
            structure=self.image.structure,
            pieces=tuple(self._piece(first, last) for first, last in self.ranges),
        )

    def files(self) -> list[dict[str, Any]]:
        """What the writer process is asked for."""
        folder = f"{step_folder(self.step)}/{parts_folder(self.origin.attempt, self.origin.generation)}"
        first, last = self.ranges[0]
        own = self._piece(first, last)
        text = header(list(self.image.slices(first, last)), self.image.cut(first))
        part = {
            "name": f"{folder}/part-{first:03d}-{last:03d}.safetensors",
            "text": text.decode("latin-1"),
            "memory": self.arena.path,
            "memory_name": self.arena.name,
            "start": own.start,
            "size": own.size,
        }
        structure = {"name": f"{folder}/structure.json", "text": self.image.structure}
        return [part] if self.origin.rank else [part, structure]

    def told(self, files: tuple[PartFile, ...]) -> PartsWritten:
        parameters, optimizer = self.hashes
        first, last = self.ranges[0]
        return PartsWritten(
            worker_id=self.origin.worker_id,
            attempt=self.origin.attempt,
            generation=self.origin.generation,
            step=self.step,
            first=first,
            last=last,
            files=tuple((file.name, file.size, file.xxh3) for file in files),
            parameters_sha256=parameters,
            optimizer_sha256=optimizer,
            metrics=self.metrics,
            ask=self.origin.ask,
        )

    def _piece(self, first: int, last: int) -> Piece:
        start, stop = self.image.cut(first), self.image.cut(last)
        return Piece(first, last, self.arena.offset(self.slot) + start, stop - start)

    def failed(self, error: BaseException) -> CheckpointFailed:
        return failed(self.origin, self.step, error)


def failed(origin: Origin, step: int, error: BaseException) -> CheckpointFailed:
    reason = f"the checkpoint of step {step} was not written: {error}"
    return CheckpointFailed(origin.worker_id, origin.generation, step, reason, origin.ask)


def wards_of(rank: int, nodes: Sequence[str]) -> tuple[int, ...]:
    """Ranks whose parts this one holds too: each is held once more by the next rank on another node.

    `nodes` are those of all ranks. Empty where all are on one node, which would take both copies with it.
    """

    def guardian(ward: int) -> int | None:
        others = (place % len(nodes) for place in range(ward + 1, ward + len(nodes)))
        return next((other for other in others if nodes[other] != nodes[ward]), None)

    return tuple(ward for ward in range(len(nodes)) if guardian(ward) == rank)
