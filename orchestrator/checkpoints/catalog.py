"""The committed checkpoints of one place: found, checked, committed and removed."""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.checkpoints.manifest import (
    Manifest,
    committer_of,
    manifest_name,
    parts_folder,
    step_folder,
    step_of,
    writers_of,
    xxh3_of,
)
from orchestrator.checkpoints.places import Place
from orchestrator.domain.errors import CheckpointError


@dataclass(frozen=True)
class Committed:
    """One checkpoint that has a manifest; whether it is good shows when it is read."""

    step: int
    attempt: int
    generation: int

    @property
    def name(self) -> str:
        return step_folder(self.step)

    @property
    def manifest(self) -> str:
        """Name of its manifest in the place."""
        return f"{self.name}/{manifest_name(self.attempt, self.generation)}"


class Catalog:
    """Every method raises StorageError where the storage is in trouble."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def committed(self) -> list[Committed]:
        """Newest step first; of each step the one of the highest (attempt, generation)."""
        found = (self._newest_of(step) for step in self._steps())
        return sorted(filter(None, found), key=lambda one: one.step, reverse=True)

    def read(self, committed: Committed) -> Manifest:
        """Raises CheckpointError where the manifest is gone, damaged or that of another checkpoint."""
        where = self.place.describe(committed.manifest)
        try:
            content = self.place.read(committed.manifest)
        except FileNotFoundError as error:
            raise CheckpointError(f"{where} is gone") from error
        manifest = Manifest.parse(content, where)
        if (manifest.step, *manifest.writer) != (committed.step, committed.attempt, committed.generation):
            raise CheckpointError(
                f"{where} is the manifest of step {manifest.step}, attempt {manifest.attempt}, generation "
                f"{manifest.generation}"
            )
        return manifest

    def missing(self, manifest: Manifest) -> str | None:
        """One sentence that names the first file which is not there in its size, None where all are. What is
        in them is not read."""
        for part in manifest.parts:
            where = f"{step_folder(manifest.step)}/{part.name}"
            size = self.place.size(where)
            if size is None:
                return f"{self.place.describe(where)} is gone"
            if size != part.size:
                return f"{self.place.describe(where)} is damaged: it has {size} bytes, expected {part.size}"
        return None

    def check(self, committed: Committed) -> str | None:
        """One sentence that names the first file which is not as it was written, None where all are. Reads
        everything."""
        try:
            manifest = self.read(committed)
        except CheckpointError as error:
            return str(error)
        problem = self.missing(manifest)
        if problem is not None:
            return problem
        for part in manifest.parts:
            where = f"{committed.name}/{part.name}"
            try:
                with self.place.open_read(where) as content:
                    whole = xxh3_of(content) == part.xxh3
            except FileNotFoundError:
                return f"{self.place.describe(where)} is gone"
            if not whole:
                return f"{self.place.describe(where)} is damaged: it does not match its checksum"
        return None

    def commit(self, manifest: Manifest) -> Committed:
        """Makes a checkpoint of parts that are written; again with the same parts changes nothing.

        Raises CheckpointError where the step was committed by a newer (attempt, generation), or by this one
        with other parts.
        """
        found = Committed(manifest.step, *manifest.writer)
        newest = self._newest_of(manifest.step)
        if newest is not None and (newest.attempt, newest.generation) > manifest.writer:
            raise CheckpointError(
                f"step {manifest.step} was committed by attempt {newest.attempt}, generation "
                f"{newest.generation}, which is newer than attempt {manifest.attempt}, generation "
                f"{manifest.generation}"
            )
        if newest == found:
            if self.read(found).parts != manifest.parts:
                raise CheckpointError(f"{self.place.describe(found.manifest)} is there with other parts")
        else:
            self.place.write(found.manifest, manifest.text().encode())
        return found

    def remove(self, step: int) -> None:
        """The manifests first and the newest of them last: what is found after a crash is whole or no
        checkpoint."""
        folder = step_folder(step)
        for writer in sorted(self._committers(folder)):
            self.place.remove(f"{folder}/{manifest_name(*writer)}")
        self.place.remove(folder)

    def sweep(self, attempt: int, generation: int, newest_step: int) -> list[str]:
        """Removes parts that nobody will commit: those without a manifest that are older than (attempt,
        generation), or of a step before `newest_step`, the newest committed one. Returns their names."""
        swept = []
        for step in self._steps():
            folder = step_folder(step)
            names = self.place.names(folder)
            dead = [
                name for name in self._uncommitted(names)
                if step < newest_step or (writers_of(name) or ()) < (attempt, generation)
            ]  # fmt: skip
            if step < newest_step and len(dead) == len(names):
                self.place.remove(folder)
            else:  # somebody newer may be about to write here
                for name in dead:
                    self.place.remove(f"{folder}/{name}")
            swept += [f"{folder}/{name}" for name in dead]
        return swept

    def _uncommitted(self, names: list[str]) -> Iterator[str]:
        committed = {parts_folder(*writer) for name in names if (writer := committer_of(name))}
        return (name for name in names if writers_of(name) and name not in committed)

    def _steps(self) -> list[int]:
        return [step for name in self.place.names("") if (step := step_of(name)) is not None]

    def _newest_of(self, step: int) -> Committed | None:
        writers = self._committers(step_folder(step))
        return Committed(step, *max(writers)) if writers else None

    def _committers(self, folder: str) -> list[tuple[int, int]]:
        return [writer for name in self.place.names(folder) if (writer := committer_of(name))]
