"""Which run directory a user means."""

import difflib
from pathlib import Path
from typing import Final

from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import RunNotFound

RECORD_NAME: Final = "run.json"
"""The file that makes a folder a run directory."""


def find_run(path_or_name: str | Path, storage: Path | None = None) -> Path:
    """The run at a path, or in `storage` by its name or a unique prefix of it. Raises RunNotFound."""
    known = {} if storage is None else {path.name: path for path in _runs_in(storage)}
    name = str(path_or_name)
    matches = [name] if name in known else [other for other in known if name and other.startswith(name)]
    if len(matches) > 1:
        raise RunNotFound(
            f"'{name}' could be any of {', '.join(sorted(matches))}", hint="type more of the name"
        )
    path = known[matches[0]] if matches else Path(path_or_name)
    if not (path / RECORD_NAME).is_file():
        raise _not_found(name, storage, list(known))
    return path


def _runs_in(storage: Path) -> list[Path]:
    with storage_errors("read", storage):
        return [path.parent for path in storage.glob(f"[!.]*/{RECORD_NAME}")]


def _not_found(name: str, storage: Path | None, known: list[str]) -> RunNotFound:
    if storage is None or "/" in name:
        return RunNotFound(
            f"{name} is not a run directory, it holds no {RECORD_NAME}", hint="give the path of a run"
        )
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "`tumbler ls` lists those that there are"
    return RunNotFound(f"there is no run '{name}' in {storage}", hint=hint)
