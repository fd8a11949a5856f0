"""What is in the files of a recipe, counted and checked by ourselves before anything is fed."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from orchestrator.domain.errors import DataError
from trainers.feed.bad_rows import BadFile, BadRows
from trainers.feed.content import digest, opened
from trainers.feed.formats import block_schema, reader_of
from trainers.feed.named import resolved
from trainers.feed.packing import count_rows
from trainers.feed.readers import agreed
from trainers.feed.recipe import Recipe, versions_that_matter
from trainers.feed.scan_cache import Known, ScanCache
from trainers.feed.sources import SkippedPart, SourceFile, filesystem_of, list_files

_SCHEMAS: Final = ("schema", "block_schema")
_FILES_AT_ONCE: Final = 8


@dataclass(frozen=True)
class ScannedFile(SourceFile):
    """One file as it was when it was scanned."""

    sha256: str
    """Of the content."""
    rows: int
    """Good ones, before any transform."""
    num_bytes: int
    """Of its text; 0 where rows are not packed."""
    bad_rows: int = 0
    """Left out under `on_bad_row: skip`."""


@dataclass(frozen=True)
class Scan:
    """All files of a recipe, in order. Pickles."""

    recipe: Recipe
    """With the name of a data set replaced by what it stands for."""
    files: tuple[ScannedFile, ...]
    skipped: tuple[SkippedPart, ...]
    """Files, and the first bad rows of each file."""
    num_bad_rows: int
    num_rows: int | None
    """Of the store that will be filled; None where nobody can know it before."""
    schema: bytes
    """Of the rows as they are read, an Arrow schema as `pa.Schema.serialize` writes it."""
    block_schema: bytes
    """Of the rows after the transform, before they are packed."""
    fingerprint: str
    """SHA-256 (64 hex digits) over the recipe and the files' names and contents, wherever they lie."""

    def as_json(self) -> dict[str, Any]:
        """All of it in JSON values, for a file."""
        schemas = {name: base64.b64encode(getattr(self, name)).decode() for name in _SCHEMAS}
        return {**asdict(self), **schemas}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Scan":
        """The inverse; raises ValueError, TypeError or KeyError where the content is none of `as_json`."""
        recipe = content["recipe"]
        return cls(
            **{
                **content,
                **{name: base64.b64decode(content[name]) for name in _SCHEMAS},
                "recipe": Recipe(**{**recipe, "columns": tuple(recipe["columns"])}),
                "files": tuple(ScannedFile(**file) for file in content["files"]),
                "skipped": tuple(SkippedPart(**part) for part in content["skipped"]),
            }
        )


def scan(recipe: Recipe, storage: Path) -> Scan:
    """Reads all files once and counts; a file that is known and has not changed since is not read again.

    What is known lies in STORAGE/.datasets/scans.

    Raises:
        DataError: a file or row is bad and `on_bad_row` is `fail`; nothing is left; a file is being changed.
        StorageError: the storage cannot be written.
    """
    recipe = resolved(recipe, storage)
    listing = list_files(recipe)
    cache = ScanCache(storage, recipe)
    found = list(zip(listing.files, _read_all(recipe, listing.files, cache), strict=True))
    cache.save()
    skipped = list(listing.skipped)
    for file, known in found:
        skipped += [SkippedPart(file.name, reason) for reason in known.reasons]
    good = [(file, known) for file, known in found if known.rows]
    if not good:
        raise DataError(f"data.source {recipe.source} holds no rows at all")
    schema = agreed([(file.name, pa.ipc.read_schema(pa.py_buffer(known.schema))) for file, known in good])
    files = tuple(
        ScannedFile(
            file.name,
            file.path,
            file.size,
            file.mtime_ns,
            file.inode,
            known.sha256,
            known.rows,
            known.num_bytes,
            known.bad_rows,
        )
        for file, known in good
    )
    made = Scan(
        recipe=recipe,
        files=files,
        skipped=tuple(skipped),
        num_bad_rows=sum(known.bad_rows for _, known in found),
        num_rows=_num_rows(recipe, files),
        schema=schema.serialize().to_pybytes(),
        block_schema=b"",
        fingerprint=_fingerprint(recipe, files, skipped),
    )
    return replace(made, block_schema=block_schema(made).serialize().to_pybytes())


def _read_all(recipe: Recipe, files: tuple[SourceFile, ...], cache: ScanCache) -> list[Known]:
    """Several at a time: digests leave the interpreter's lock alone, and remote files make one wait."""
    pool = ThreadPoolExecutor(min(_FILES_AT_ONCE, os.cpu_count() or 1))
    try:
        return list(pool.map(lambda file: cache.known(file) or _read(recipe, file, cache), files))
    finally:
        # After an error nobody wants to know the others.
        pool.shutdown(cancel_futures=True)


def _read(recipe: Recipe, file: SourceFile, cache: ScanCache) -> Known:
    system, _ = filesystem_of(recipe.source)
    bad = BadRows(file.path, recipe.on_bad_row)
    sha256 = digest(system, file)
    try:
        with opened(system, file) as content:
            survey = reader_of(recipe).survey(content, file.name, bad)
    except BadFile as error:
        if recipe.on_bad_row == "fail":
            raise error.of(file.path) from error
        return cache.learn(file, Known(sha256, 0, 0, 0, (str(error),), b""))
    return cache.learn(
        file,
        Known(
            sha256,
            survey.rows,
            survey.num_bytes,
            bad.count,
            tuple(bad.reasons),
            survey.schema.serialize().to_pybytes(),
        ),
    )


def _num_rows(recipe: Recipe, files: tuple[ScannedFile, ...]) -> int | None:
    rows = sum(file.rows for file in files)
    if recipe.context is None:
        # A transform of a row gives one row, or none where it fails and that is let pass.
        keeps_count = recipe.transform_per == "row" and recipe.on_bad_row == "fail"
        return rows if not recipe.transform or keeps_count else None
    if recipe.tokenizer != "bytes" or recipe.transform:
        return None
    # A token per byte, and one that ends each text.
    return count_rows(sum(file.num_bytes for file in files) + rows, recipe.context)


def _fingerprint(recipe: Recipe, files: tuple[ScannedFile, ...], skipped: list[SkippedPart]) -> str:
    content: list[Any] = [
        recipe.identity(),
        versions_that_matter(recipe),
        [(file.name, file.size, file.sha256) for file in files],
        [(part.name, part.reason) for part in skipped],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
