"""Finds the checkpoint that a reference means: of a run, of a folder of checkpoints, or one of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.manifest import step_folder, step_of
from orchestrator.checkpoints.places import Place, place_of
from orchestrator.checkpoints.retention import best
from orchestrator.domain.checkpoint_reference import CheckpointReference
from orchestrator.domain.errors import CheckpointError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.run_search import RECORD_NAME, find_run
from orchestrator.domain.spec_parts import KeepBest, absolute_location, split_scheme

BEST: Final = KeepBest(metric="val_loss")
"""What is best where no `checkpoint.keep_best` of the run says otherwise."""
_EXPECTED: Final = "name a run that has one, a folder of checkpoints, or one of them; an export is none"


@dataclass(frozen=True)
class Source:
    """The folder of checkpoints that a reference names, and which of them."""

    location: str
    """Absolute path or URI."""
    step: int | None
    """None means the newest, or the best."""
    best: KeepBest | None

    @property
    def place(self) -> Place:
        return place_of(self.location)


def resolve(reference: str, storage: Path) -> tuple[Place, Committed]:
    """Where it lies, and which it is: its manifest is whole and its files are there in their size. Runs are
    looked up by name in `storage`.

    Raises RunNotFound; CheckpointError where there is no such checkpoint or it is damaged; StorageError.
    """
    source = locate(reference, storage)
    return source.place, _found(source)


def pin(reference: str, storage: Path) -> str:
    """The same as absolute path or URI with `@STEP`, which means one checkpoint for ever. Raises what
    `resolve` does."""
    source = locate(reference, storage)
    return f"{source.location}@{_found(source).step}"


def locate(reference: str, storage: Path) -> Source:
    """Without a look at the checkpoints. Raises RunNotFound, StorageError, and CheckpointError where two
    steps are named."""
    wanted = CheckpointReference.parse(reference)
    location, keep_best, step = _folder(wanted, storage)
    if step is not None and (wanted.best or wanted.step not in (None, step)):
        raise CheckpointError(f"{reference} names two checkpoints; leave out what follows the @")
    by = (keep_best or BEST) if wanted.best else None
    return Source(location, wanted.step if step is None else step, by)


def _folder(wanted: CheckpointReference, storage: Path) -> tuple[str, KeepBest | None, int | None]:
    """(location of the checkpoints, what is best among them, the step if one folder is meant)."""
    if wanted.is_name:
        return *_of_run(find_run(wanted.source, storage)), None
    location = absolute_location(wanted.source)
    if split_scheme(location)[0] != "file":
        base, mark, options = location.partition("?")
        folder, step = _step_taken_off(base.rstrip("/"))
        return folder + mark + options, None, step
    if (Path(location) / RECORD_NAME).is_file():
        return *_of_run(Path(location)), None
    folder, step = _step_taken_off(location)
    run = Path(folder).parent
    keep_best = RunDirectory(run).spec().checkpoint.keep_best if (run / RECORD_NAME).is_file() else None
    return folder, keep_best, step


def _step_taken_off(location: str) -> tuple[str, int | None]:
    parent, _, last = location.rpartition("/")
    step = step_of(last)
    return (location, None) if step is None else (parent, step)


def _of_run(folder: Path) -> tuple[str, KeepBest | None]:
    checkpoint = RunDirectory.open(folder).spec().checkpoint
    return absolute_location(checkpoint.checkpoints_of(folder)), checkpoint.keep_best


def _found(source: Source) -> Committed:
    catalog = Catalog(source.place)
    where = source.place.describe("")
    candidates = catalog.committed()
    if not candidates:
        raise CheckpointError(f"there is no checkpoint in {where}", hint=_EXPECTED)
    if source.best is not None:
        found = _best(catalog, candidates, source.best, where)
    elif source.step is None:
        found = candidates[0]
    else:
        found = _at(source.step, candidates, where)
    problem = catalog.missing(catalog.read(found))
    if problem is not None:
        raise CheckpointError(problem)
    return found


def _at(step: int, candidates: list[Committed], where: str) -> Committed:
    for one in candidates:
        if one.step == step:
            return one
    there = ", ".join(str(one.step) for one in candidates[:5]) + (", ..." if len(candidates) > 5 else "")
    raise CheckpointError(f"there is no {step_folder(step)} in {where}; there are steps {there}")


def _best(catalog: Catalog, candidates: list[Committed], by: KeepBest, where: str) -> Committed:
    step = best([(one.step, catalog.read(one).metrics) for one in candidates], by)
    for one in candidates:
        if one.step == step:
            return one
    raise CheckpointError(f"no checkpoint in {where} has the metric {by.metric}, so none is the best")
