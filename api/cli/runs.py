"""`tumbler ls`, `get` and `audit`: runs as their directories tell them."""

from typing import Any

from api.cli.arguments import DEFAULT_STORAGE, Output, Reference, Storage, open_run
from api.cli.output import Columns, Format, number, put, tell
from orchestrator.domain.audit import AuditReport
from orchestrator.domain.audit import audit as audit_run
from orchestrator.domain.errors import StorageError
from orchestrator.domain.run_directory import RunDirectory, RunState

AUDIT_FIELDS = ("run", "epochs", "steps", "parameters_sha256", "optimizer_sha256", "chain", "ok")
"""What `audit -o json` prints; the problems go to stderr."""


def ls(*, storage: Storage = DEFAULT_STORAGE, output: Output = Format.TABLE) -> None:
    """List the runs of a storage folder, the newest first."""
    found, rows = [], []
    for run in _runs_in(storage):
        try:
            created, state = run.record().created, run.read_status()
        except StorageError as error:
            tell(str(error))
            continue
        found.append({"created": created, **content_of(run, state)})
        rows.append((state.run, state.status, _progress(state), number(state.metrics.get("loss")), created))
    order = sorted(range(len(found)), key=lambda index: found[index]["created"], reverse=True)
    columns = Columns(
        ("name", "status", "step", "loss", "created"),
        [rows[index] for index in order],
        empty=f"there are no runs in {storage}; start one with `tumbler run`",
    )
    put([found[index] for index in order], columns, output)


def get(run: Reference, /, *, storage: Storage = DEFAULT_STORAGE, output: Output = Format.TABLE) -> None:
    """Show where one run stands."""
    found = open_run(run, storage)
    state = found.read_status()
    put(content_of(found, state), describe(found, state), output)


def audit(run: Reference, /, *, storage: Storage = DEFAULT_STORAGE, output: Output = Format.TABLE) -> int:
    """Prove from the run directory that every row of every epoch was used once, and show the hash chain.

    Two runs of one spec on one platform end with the same chain, whatever happened to either. Exits with 1
    where something is wrong.
    """
    report = audit_run(open_run(run, storage))
    content = report.model_dump(mode="json", include=set(AUDIT_FIELDS))
    put(content, describe_audit(report), output)
    for problem in report.problems:
        tell(problem)
    return 0 if report.ok else 1


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


def describe_audit(report: AuditReport) -> dict[str, object]:
    fields: dict[str, object] = {
        "run": report.run,
        "verdict": "ok" if report.ok else "problem",
        "steps": report.steps,
    }
    for epoch in report.epochs:
        fields[f"epoch {epoch.epoch}"] = (
            f"{epoch.expected} rows due, {epoch.consumed} used, "
            f"{epoch.repeated} repeated, {epoch.missed} missed"
        )
    if report.chain:
        last = report.chain[-1]
        fields |= {"parameters": report.parameters_sha256, "optimizer": report.optimizer_sha256}
        fields["chain"] = f"{last.sha256} (step {last.step}, {len(report.chain)} links)"
    return fields


def _progress(state: RunState) -> str:
    return f"{state.step}/{state.total_steps}" if state.total_steps else str(state.step)


def _runs_in(storage: Storage) -> list[RunDirectory]:
    return [RunDirectory(path.parent) for path in sorted(storage.expanduser().glob("[!.]*/run.json"))]
