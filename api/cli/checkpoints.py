"""`tumbler checkpoint`: what of a run can be restored."""

import json
from pathlib import Path
from typing import Any

from cyclopts import App

from api.cli.arguments import Folder, Output, Reference
from api.cli.output import Columns, Format, number, put, size
from api.cli.places import seen_directory, service_for, storage_or_default
from orchestrator.domain.checkpoints import MANIFEST, find_checkpoints
from orchestrator.domain.run_directory import RunDirectory

checkpoint = App(name="checkpoint", help="The checkpoints of a run.")

_NONE_YET = "the run has no checkpoint yet"


@checkpoint.command
def ls(run: Reference, /, *, storage: Folder = None, output: Output = Format.TABLE) -> None:
    """List the committed checkpoints of a run, the newest first."""
    service = service_for(run, storage)
    if service is None:
        directory = RunDirectory.open(run, storage_or_default(storage))
    else:
        with service:
            served = service.run(run)
            seen = seen_directory(served)
            if seen is None:
                _list_served(service.checkpoints(served.id), output)
                return
        directory = seen
    found = [_read(path) for path in find_checkpoints(directory.checkpoints)]
    rows = [
        (
            one["name"],
            size(one["bytes"]),
            one["attempt"],
            ", ".join(f"{name} {number(value)}" for name, value in one["metrics"].items()),
            one["parameters_sha256"],
            one["problem"],
        )
        for one in found
    ]
    names = ("name", "size", "attempt", "metrics", "parameters sha256", "problem")
    if not any(one["problem"] for one in found):
        names, rows = names[:-1], [row[:-1] for row in rows]  # type: ignore[assignment, misc]
    put(found, Columns(names, rows, empty=_NONE_YET), output)


def _list_served(found: list[dict[str, Any]], output: Format) -> None:
    """Those of a run whose directory only the service sees."""
    names = ("name", "step", "committed", "path")
    rows = [[one.get(name) for name in names] for one in found]
    put(found, Columns(names, rows, empty=_NONE_YET), output)


def _read(path: Path) -> dict[str, Any]:
    """What the manifest says, and whether the files it names are there in full; their content is not read."""
    found = {"name": path.name, "path": str(path), "bytes": 0, "problem": None}
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files = {name: entry["bytes"] for name, entry in manifest["files"].items()}
        described = {
            "step": manifest["step"],
            "attempt": manifest["attempt"],
            "generation": manifest["generation"],
            "bytes": sum(files.values()),
            "metrics": dict(manifest["metrics"]),
            "parameters_sha256": manifest["parameters_sha256"],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        nothing = dict.fromkeys(("step", "attempt", "generation", "parameters_sha256"))
        return {**found, **nothing, "metrics": {}, "problem": f"its {MANIFEST} is broken"}
    torn = [name for name, size in files.items() if not _has_size(path / name, size)]
    return {**found, **described, "problem": f"{', '.join(torn)} is not whole" if torn else None}


def _has_size(path: Path, num_bytes: int) -> bool:
    try:
        return path.stat().st_size == num_bytes
    except OSError:
        return False
