"""The feed of one run: which rows it stands for, pinned in the run directory so that no attempt gets others.

`data.json` is the scan of the first attempt. Workers are told the little that they need (RunFeed); the feed
reads the rest from there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.disk import replace_text, storage_errors
from orchestrator.domain.errors import DataError, StorageError
from orchestrator.domain.run_directory import RunDirectory
from trainers.feed.filling import store_folder
from trainers.feed.rows import split
from trainers.feed.scan import Scan
from trainers.feed.segments import SegmentStore

PIN_FILE: Final = "data.json"
_FORMAT: Final = 1
_PARTS: Final = ("num_train_rows", "num_validation_rows")


@dataclass(frozen=True)
class RunFeed:
    """What every process of a run knows of its rows."""

    folder: Path
    """Of the store that they are in, or will be."""
    num_rows: int | None
    """Training and validation rows together; None until the store is complete."""
    run_folder: Path
    """Where they are pinned."""
    complete: bool
    """They were all there when the attempt began: no feed is needed."""


def pin(run: RunDirectory, scan: Scan, storage: Path) -> RunFeed:
    """The feed of a run on these files; the first attempt says which rows the run has, for all that follow.

    Raises DataError, naming a file, where an earlier attempt had other rows; StorageError.
    """
    path = run.path / PIN_FILE
    before = pinned_scan(run.path) if path.is_file() else None
    if before is not None and before.fingerprint != scan.fingerprint:
        raise DataError(
            f"the data of run {run.name} is not what it was when the run began: {_difference(before, scan)}",
            hint="Bring it back as it was, or start another run.",
        )
    if before != scan:  # the first, or the same files lie elsewhere by now
        content = {**_as_json(scan), **_parts(scan, run.spec().data.validation_fraction)}
        replace_text(path, json.dumps(content, separators=(",", ":")) + "\n")
    store = SegmentStore(store_folder(scan, storage))
    complete = store.complete and not store.gaps()
    return RunFeed(store.folder, store.num_rows if complete else scan.num_rows, run.path, complete)


def feed_of(run: RunDirectory) -> RunFeed | None:
    """Where the rows of a run of earlier are; None where they came another way. Raises StorageError."""
    if not (run.path / PIN_FILE).is_file():
        return None
    store = SegmentStore(store_folder(pinned_scan(run.path), run.path.parent))
    return RunFeed(store.folder, store.num_rows, run.path, store.complete)


def pinned_scan(run_folder: Path) -> Scan:
    """The scan that a run is pinned to. Raises StorageError where it cannot be read."""
    path = run_folder / PIN_FILE
    with storage_errors("read", path):
        content = path.read_text()
    try:
        return _from_json(json.loads(content))
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{path} is broken: {error}", hint="bring the file back from a copy") from error


def _parts(scan: Scan, validation_fraction: float) -> dict[str, int | None]:
    """What an audit expects of the run."""
    train, validation = split(scan.num_rows, validation_fraction) if scan.num_rows else (None, None)
    return dict(zip(_PARTS, (train, validation), strict=True))


def _as_json(scan: Scan) -> dict[str, Any]:
    return {"format": _FORMAT, **scan.as_json()}


def _from_json(content: dict[str, Any]) -> Scan:
    known = content.pop("format")
    if known > _FORMAT:
        raise ValueError(f"it has format {known} and this version reads up to {_FORMAT}")
    for name in _PARTS:
        content.pop(name, None)
    return Scan.from_json(content)


def _difference(before: Scan, now: Scan) -> str:
    """Half a sentence that names what changed."""
    return next(_differences(before, now), "it is read by other versions of its libraries")


def _differences(before: Scan, now: Scan) -> Iterator[str]:
    old, new = ({file.name: file for file in scan.files} for scan in (before, now))
    changed = sorted(name for name in old.keys() & new.keys() if old[name].sha256 != new[name].sha256)
    for what, names in (
        ("changed", changed),
        ("is gone", sorted(old.keys() - new.keys())),
        ("is new", sorted(new.keys() - old.keys())),
    ):
        if names:
            rest = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            yield f"{names[0]}{rest} {what}"
    old_recipe, new_recipe = before.recipe.identity(), now.recipe.identity()
    for field in sorted(new_recipe):
        if old_recipe.get(field) != new_recipe[field]:
            yield f"{field.removesuffix('_sha256')} of its recipe is another"
