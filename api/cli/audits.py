"""`tumbler audit`: the proof that every row was used once, and whether two runs took the same way."""

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from api.cli.arguments import Folder, Output, Reference
from api.cli.output import Columns, Format, put, tell
from api.cli.places import open_run, service_for, storage_or_default
from orchestrator.domain.audit import AuditReport
from orchestrator.domain.audit import audit as audit_run
from orchestrator.domain.audit_comparison import ChainComparison, compare_chains, result_differences
from orchestrator.domain.errors import DataError
from orchestrator.domain.pinned_data import differences
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec

_SHORT = 12
"""Hex digits of a hash that are enough to see whether two are equal."""


@dataclass(frozen=True)
class _Audited:
    report: AuditReport
    spec: RunSpec | None


def audit(
    run: Reference,
    other: Annotated[str | None, Parameter(name="OTHER")] = None,
    /,
    *,
    scan: Annotated[bool, Parameter(negative="")] = False,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> int:
    """Prove from the run directory that every row of every epoch was used once, and show the hash chain.

    Two runs of one spec on one platform have the same chain, whatever happened to either. Exits with 0 only
    where nothing is wrong and, of two runs, the chains are equal to their ends; else with 1.

    Parameters
    ----------
    other
        A second run: say whether the chains of both are equal, and from which step on they are not.
    scan
        Read the sources again, and say whether they still are what the run began with.
    """
    audited = [_audited(reference, storage, scan=scan) for reference in (run, other) if reference is not None]
    for one in audited:
        prefix = f"{one.report.run}: " if other is not None else ""
        for sentence in (*one.report.problems, *one.report.notes):
            tell(f"{prefix}{sentence}")
    ok = all(one.report.ok for one in audited)
    if other is None:
        put(audited[0].report.model_dump(mode="json"), _lines(audited[0].report), output)
        return 0 if ok else 1
    comparison = _compare(audited[0], audited[1], output)
    return 0 if ok and comparison.equal else 1


def _audited(reference: str, storage: Any, *, scan: bool) -> _Audited:
    service = None if scan else service_for(reference, storage)
    if service is None:
        # The service may be elsewhere; what is to be read again must be here.
        found = (
            open_run(reference, storage)
            if scan
            else RunDirectory.open(reference, storage_or_default(storage))
        )
        report = audit_run(found)
        return _Audited(_with_scan(report, found) if scan else report, found.spec())
    with service:
        report = service.audit(reference)
        spec = service.run(reference).spec
    return _Audited(report, None if spec is None else RunSpec.parse(spec))


def _with_scan(report: AuditReport, run: RunDirectory) -> AuditReport:
    problems = (*report.problems, *_scan_problems(run))
    return report.model_copy(update={"problems": problems, "ok": not problems})


def _scan_problems(run: RunDirectory) -> list[str]:
    pinned = run.read_data()
    if pinned is None:
        return ["the sources were not scanned when the run began, so nobody can say whether they changed"]
    try:
        return differences(pinned, _sources_now(run))
    except DataError as error:
        return [f"the sources cannot be read again: {error}"]


def _sources_now(run: RunDirectory) -> dict[str, tuple[int, str]]:
    """Name -> (bytes, SHA-256) of each file that its recipe finds now, all of them read; those that the run
    left out are left out. Raises DataError."""
    from trainers.feed.content import digest
    from trainers.feed.run_feed import pinned_scan
    from trainers.feed.sources import filesystem_of, list_files

    scan = pinned_scan(run.path)
    left_out = {part.name for part in scan.skipped} - {file.name for file in scan.files}
    system, _ = filesystem_of(scan.recipe.source)
    files = [file for file in list_files(scan.recipe).files if file.name not in left_out]
    return {file.name: (file.size, digest(system, file)) for file in files}


def _compare(first: _Audited, second: _Audited, output: Format) -> ChainComparison:
    comparison = compare_chains(first.report, second.report)
    reports = (first.report, second.report)
    content = {"runs": [report.model_dump(mode="json") for report in reports], **comparison.model_dump()}
    by_step = [{link.step: link.sha256[:_SHORT] for link in report.chain} for report in reports]
    rows = [
        (
            step,
            *(found.get(step) for found in by_step),
            "" if by_step[0].get(step) == by_step[1].get(step) else "differs",
        )
        for step in sorted(by_step[0].keys() | by_step[1].keys())
    ]
    put(content, Columns(("step", *(report.run for report in reports), ""), rows), output)
    tell(comparison.verdict)
    if first.spec is not None and second.spec is not None:
        for difference in result_differences(first.spec, second.spec):
            tell(f"the specs differ: {difference}")
    return comparison


def _lines(report: AuditReport) -> dict[str, object]:
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
