"""`tumbler ls` and `get`: runs as the service or their directories tell them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from api.cli.arguments import Folder, Output, Reference
from api.cli.output import Columns, Format, number, put, tell
from api.cli.places import service_for, storage_or_default
from api.cli.served_runs import LIST_COLUMNS, lines_about, row_of
from api.client import Client
from orchestrator.domain.errors import StorageError
from orchestrator.domain.run_directory import RunDirectory, RunState
from orchestrator.domain.status import RunStatus


def ls(
    *,
    status: Annotated[tuple[RunStatus, ...], Parameter(negative="")] = (),
    label: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    queue: str | None = None,
    limit: PositiveInt = 100,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> None:
    """List runs, the newest first: those of the service, or where none runs, of a folder.

    Parameters
    ----------
    status
        Only runs in this status, such as running; may be repeated.
    label
        Only runs that carry this label, as KEY=VALUE; may be repeated.
    queue
        Only runs of this queue.
    limit
        At most so many.
    """
    service = service_for("", storage)
    if service is not None:
        with service:
            _list_served(service, output, limit, status=status, label=label, queue=queue)
        return
    folder = storage_or_default(storage)
    found, rows = [], []
    for run, created, state in _chosen(folder, status, label, queue):
        found.append({"created": created, **content_of(run, state)})
        rows.append((state.run, state.status, _progress(state), number(state.metrics.get("loss")), created))
    order = sorted(range(len(found)), key=lambda index: found[index]["created"], reverse=True)[:limit]
    chosen = " is like that" if status or label or queue else " yet"
    columns = Columns(
        ("name", "status", "step", "loss", "created"),
        [rows[index] for index in order],
        empty=f"no run in {folder}{chosen}; start one with `tumbler run -f run.yaml`",
    )
    put([found[index] for index in order], columns, output)


def get(run: Reference, /, *, storage: Folder = None, output: Output = Format.TABLE) -> None:
    """Show where one run stands."""
    service = service_for(run, storage)
    if service is not None:
        with service:
            served = service.run(run)
        put(served.content(), lines_about(served), output)
        return
    found = RunDirectory.open(run, storage_or_default(storage))
    state = found.read_status()
    put(content_of(found, state), describe(found, state), output)


def content_of(run: RunDirectory, state: RunState) -> dict[str, Any]:
    """What programs are told about one run."""
    return {"path": str(run.path), "name": state.run, **state.model_dump(mode="json", exclude={"run"})}


def describe(run: RunDirectory, state: RunState) -> dict[str, object]:
    """The lines about one run that people want to see first."""
    spec = run.spec()
    fields = {
        "run": state.run,
        "status": state.status,
        "reason": state.reason,
        "message": state.message,
        "phase": state.phase,
        "what": spec.task or spec.entrypoint or spec.command,
        "step": _progress(state),
        "workers": f"{state.workers} of {spec.workers.min} to {spec.workers.max}",
        "generation": state.generation,
        "attempt": state.attempt,
        "metrics": ", ".join(f"{name} {number(value)}" for name, value in state.metrics.items()),
        "started": state.started,
        "ended": state.ended,
        "checkpoint": state.checkpoint,
        "parameters": state.parameters_sha256,
        "path": run.path,
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _progress(state: RunState) -> str:
    return f"{state.step}/{state.total_steps}" if state.total_steps else str(state.step)


def _list_served(service: Client, output: Format, limit: int, **conditions: Any) -> None:
    runs = list(service.runs(limit=limit, **conditions))
    rows = [row_of(run) for run in runs]
    chosen = " is like that" if any(conditions.values()) else " yet"
    empty = f"no run{chosen}; start one with `tumbler submit -f run.yaml`"
    put([run.content() for run in runs], Columns(LIST_COLUMNS, rows, empty=empty), output)


def _chosen(
    storage: Path, status: tuple[RunStatus, ...], label: tuple[str, ...], queue: str | None
) -> Iterator[tuple[RunDirectory, str, RunState]]:
    """The runs of a folder that fit; names those that are broken."""
    for path in sorted(storage.glob("[!.]*/run.json")):
        run = RunDirectory(path.parent)
        try:
            created, state = run.record().created, run.read_status()
            if (status and state.status not in status) or not _carries(run, label, queue):
                continue
        except StorageError as error:
            tell(str(error))
            continue
        yield run, created, state


def _carries(run: RunDirectory, label: tuple[str, ...], queue: str | None) -> bool:
    if not label and queue is None:
        return True
    spec = run.spec()
    carried = {f"{key}={value}" for key, value in spec.labels.items()}
    return carried.issuperset(label) and queue in (None, spec.queue)
