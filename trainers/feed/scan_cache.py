"""What scans of a storage found out, so that GBs are read once: STORAGE/.datasets/scans/KEY.json."""

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from orchestrator.domain.disk import replace_text, storage_errors
from trainers.feed.recipe import Recipe
from trainers.feed.sources import SourceFile

_FORMAT: Final = 1
_SETTLED_S: Final = 2.0
"""A file that was written a moment ago may be written again without a change of its time."""


class Known(NamedTuple):
    """What was found in one file."""

    sha256: str
    rows: int
    """0 where the file as a whole is bad; `reasons` says why."""
    num_bytes: int
    bad_rows: int
    reasons: tuple[str, ...]
    schema: bytes


class ScanCache:
    """The files of one source as one way of reading them found them. A broken cache is an empty one."""

    def __init__(self, storage: Path, recipe: Recipe) -> None:
        way = [_FORMAT, recipe.source, recipe.format, recipe.is_packed, bool(recipe.transform)]
        way += [recipe.read_columns, recipe.tokenizer == "bytes", recipe.on_bad_row]
        key = hashlib.sha256(json.dumps(way).encode()).hexdigest()
        self._path = storage / ".datasets" / "scans" / f"{key}.json"
        self._old = self._load()
        self._new: dict[str, Any] = {}
        self._began_ns = time.time_ns()

    def known(self, file: SourceFile) -> Known | None:
        """What was found in the file; None if it is unknown, or path, size, time or inode differ."""
        entry = self._old.get(file.path)
        if entry is None or entry["identity"] != _identity(file):
            return None
        self._new[file.path] = entry
        found = {**entry["found"], "reasons": tuple(entry["found"]["reasons"])}
        return Known(**{**found, "schema": base64.b64decode(found["schema"])})

    def learn(self, file: SourceFile, known: Known) -> Known:
        """Keeps what was found, and gives it back."""
        if self._began_ns - file.mtime_ns > _SETTLED_S * 1e9:
            found = {**known._asdict(), "schema": base64.b64encode(known.schema).decode()}
            self._new[file.path] = {"identity": _identity(file), "found": found}
        return known

    def save(self) -> None:
        """Writes what was learned, if anything was. Raises StorageError."""
        if self._new == self._old:
            return
        with storage_errors("write", self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(self._path, json.dumps({"files": self._new}), durable=False)

    def _load(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text())["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return found if isinstance(found, dict) else {}


def _identity(file: SourceFile) -> list[int]:
    return [file.size, file.mtime_ns, file.inode]
