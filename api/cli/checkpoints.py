"""`tumbler checkpoint`: what of a run can be restored."""

import json
from pathlib import Path
from typing import Any

from cyclopts import App

from api.cli.arguments import DEFAULT_STORAGE, Output, Reference, Storage, open_run
from api.cli.output import Columns, Format, number, put, size
from orchestrator.domain.checkpoints import MANIFEST, find_checkpoints

checkpoint = App(name="checkpoint", help="The checkpoints of a run.")


@checkpoint.command
def ls(run: Reference, /, *, storage: Storage = DEFAULT_STORAGE, output: Output = Format.TABLE) -> None:
    """List the committed checkpoints of a run, the newest first."""
    found = [_read(path) for path in find_checkpoints(open_run(run, storage).checkpoints)]
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
    put(found, Columns(names, rows, empty="the run has no checkpoint yet"), output)


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
