"""What of a spec only the storage of checkpoints can tell: can it be written, and what does a run start from.

Both doors ask this before a run is made.
"""

from pathlib import Path

from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.places import check_writable, place_of
from orchestrator.checkpoints.references import locate, pin
from orchestrator.domain.errors import CheckpointError, Problem, TumblerError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.run_search import RECORD_NAME
from orchestrator.domain.spec import RunSpec


def asks_storage(spec: RunSpec) -> bool:
    """Whether `settle` has anything to do; it takes as long as the storage does."""
    return spec.checkpoint.location is not None or spec.train.from_checkpoint is not None


def settle(spec: RunSpec, storage: Path) -> tuple[RunSpec, list[Problem]]:
    """The spec with `train.from_checkpoint` pinned to one checkpoint, and what is wrong about storage.

    Its paths are absolute; `storage` is where run directories lie.
    """
    problems = []
    if spec.checkpoint.location is not None:
        try:
            _check_location(spec, spec.checkpoint.location, storage / spec.name)
        except TumblerError as error:
            problems.append(Problem("checkpoint.location", _sentence(error)))
    if spec.train.from_checkpoint is not None:
        try:
            train = {"from_checkpoint": _pinned(spec, spec.train.from_checkpoint, storage)}
        except TumblerError as error:
            problems.append(Problem("train.from_checkpoint", _sentence(error)))
        else:
            spec = spec.model_copy(update={"train": spec.train.model_copy(update=train)})
    return spec, problems


def _check_location(spec: RunSpec, location: str, folder: Path) -> None:
    check_writable(place_of(location))
    if (folder / RECORD_NAME).is_file():
        return
    place = place_of(spec.checkpoint.checkpoints_of(folder))
    if Catalog(place).committed():
        raise CheckpointError(
            f"{place.describe('')} has the checkpoints of another run; choose another name or location"
        )


def _pinned(spec: RunSpec, reference: str, storage: Path) -> str:
    """A run that is resumed stays with what it started from, which may be gone once it has a checkpoint."""
    folder = storage / spec.name
    if (folder / RECORD_NAME).is_file():
        old = RunDirectory.open(folder).spec().train.from_checkpoint
        if old is not None and _means(reference, old, storage):
            if Catalog(place_of(spec.checkpoint.checkpoints_of(folder))).committed():
                return old
            reference = old
    return pin(reference, storage)


def _means(reference: str, pinned: str, storage: Path) -> bool:
    if reference == pinned:
        return True
    source = locate(reference, storage)
    location, _, step = pinned.rpartition("@")
    return source.location == location and source.step in (None, int(step))


def _sentence(error: TumblerError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
