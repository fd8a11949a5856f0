"""The committed checkpoints of a run: listed, checked, chosen and removed, for commands and for the service.

Imports neither ray nor torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.places import place_of
from orchestrator.checkpoints.references import BEST as USUAL_BEST
from orchestrator.checkpoints.retention import best
from orchestrator.domain.errors import CheckpointError, CheckpointNotFound, TumblerError, WrongStatus
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec_parts import KeepBest, absolute_location

NEWEST: Final = "newest"
BEST: Final = "best"


@dataclass(frozen=True)
class CheckpointRow:
    """One checkpoint as its manifest describes it. The files it names are looked at and not read."""

    name: str
    step: int
    attempt: int
    generation: int
    path: str
    """Of its folder; a URI where it is not on a disk."""
    size: int | None = None
    """Bytes of all its files. None where the manifest is damaged, as are those below."""
    metrics: Mapping[str, float] | None = None
    """Of the evaluation before it."""
    committed: str | None = None
    parameters_sha256: str | None = None
    problem: str | None = None
    """Why it cannot be restored, in a sentence; None where nothing is seen without reading its files."""

    def content(self) -> dict[str, Any]:
        return {**vars(self), "metrics": dict(self.metrics or {})}


@dataclass(frozen=True)
class CheckResult:
    """What came of reading all of a checkpoint."""

    name: str
    step: int
    attempt: int
    generation: int
    problem: str | None
    """None where every file has the content that it was committed with."""

    @property
    def ok(self) -> bool:
        return self.problem is None

    def content(self) -> dict[str, Any]:
        return {**vars(self), "ok": self.ok}


def checkpoints_of(run: RunDirectory) -> Catalog:
    """Those of a run, wherever its spec puts them. Raises StorageError."""
    if not run.spec_path.is_file():  # it has not started
        return Catalog(place_of(run.checkpoints))
    location = run.spec().checkpoint.checkpoints_of(run.path)
    return Catalog(place_of(absolute_location(location)))


def list_checkpoints(run: RunDirectory) -> list[CheckpointRow]:
    """All that are committed, the newest first. Raises StorageError."""
    catalog = checkpoints_of(run)
    rows = (_row(catalog, committed) for committed in catalog.committed())
    return [row for row in rows if row is not None]


def find_checkpoint(run: RunDirectory, step: int) -> Committed:
    """Raises CheckpointNotFound, StorageError."""
    committed = checkpoints_of(run).committed()
    for one in committed:
        if one.step == step:
            return one
    raise _not_found(run.name, step, [one.step for one in committed])


def check_checkpoint(run: RunDirectory, step: int) -> CheckResult:
    """Reads all of it. Raises CheckpointNotFound, StorageError."""
    committed = find_checkpoint(run, step)
    problem = checkpoints_of(run).check(committed)
    return CheckResult(committed.name, step, committed.attempt, committed.generation, problem)


def remove_checkpoint(run: RunDirectory, step: int, *, over: bool) -> None:
    """Removes it for good; `over` says that the run has ended.

    Raises CheckpointNotFound; WrongStatus where the run would go on from it; StorageError.
    """
    find_checkpoint(run, step)
    if not over:
        rows = list_checkpoints(run)
        whole = [row for row in rows if row.problem is None]
        if step in {row.step for row in (*rows[:1], *whole[:1])}:
            raise WrongStatus(
                f"step {step} is the newest checkpoint of run '{run.name}', which would go on from it",
                hint="wait until it has committed another, or cancel the run first",
            )
    checkpoints_of(run).remove(step)


def choose_step(
    name: str, wish: str, known: Sequence[tuple[int, Mapping[str, Any]]], keep_best: KeepBest | None
) -> int:
    """The step that `newest`, `best` or a number means among (step, metrics), the newest first.

    The best is that of `keep_best`, else the one of the lowest val_loss; of equals the newer. `name` is the
    run's. Raises CheckpointNotFound.
    """
    steps = [step for step, _ in known]
    if not steps:
        raise none_yet(name)
    if wish == NEWEST:
        return steps[0]
    if wish == BEST:
        return _best_step(name, known, keep_best or USUAL_BEST)
    step = int(wish)
    if step not in steps:
        raise _not_found(name, step, steps)
    return step


def none_yet(name: str) -> TumblerError:
    return CheckpointNotFound(
        f"run '{name}' has no checkpoint yet", hint="it commits one every checkpoint.every steps"
    )


def _row(catalog: Catalog, committed: Committed) -> CheckpointRow | None:
    """None where it was removed while we looked."""
    path = catalog.place.describe(committed.name)
    known = (committed.name, committed.step, committed.attempt, committed.generation, path)
    try:
        manifest = catalog.read(committed)
    except CheckpointError as error:
        is_gone = catalog.place.size(committed.manifest) is None
        return None if is_gone else CheckpointRow(*known, problem=error.message)
    return CheckpointRow(
        *known,
        size=manifest.size,
        metrics=manifest.metrics,
        committed=manifest.committed,
        parameters_sha256=manifest.parameters_sha256,
        problem=catalog.missing(manifest),
    )


def _best_step(name: str, known: Sequence[tuple[int, Mapping[str, Any]]], by: KeepBest) -> int:
    # What is not finite comes as text from the service.
    numbers = [(step, {key: float(value) for key, value in metrics.items()}) for step, metrics in known]
    found = best(numbers, by)
    if found is None:
        raise CheckpointNotFound(
            f"no checkpoint of run '{name}' has a finite {by.metric}, so none is the best",
            hint=f"give a step, or `{NEWEST}`",
        )
    return found


def _not_found(name: str, step: int, known: Sequence[int]) -> TumblerError:
    if not known:
        return none_yet(name)
    return CheckpointNotFound(
        f"run '{name}' has no checkpoint of step {step}", hint=f"it has {', '.join(map(str, sorted(known)))}"
    )
