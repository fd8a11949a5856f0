"""Whether two runs took the same way: their chains, link by link."""

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.audit import AuditReport
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_differences import spec_differences

_DO_NOT_MATTER = frozenset(
    {"name", "labels", "queue", "priority", "workers", "resources", "code", "secrets", "checkpoint", "retry"}
    | {"stop", "log", "parallelism"}
)
"""Sections of a spec that do not decide the result's bits, but for `resources.threads`."""


class ChainComparison(BaseModel):
    model_config = ConfigDict(frozen=True)

    equal: bool
    """Both chains have the same links, all of them."""
    last_equal_step: int
    """The newest step up to which both chains are equal; 0 where not even the first links are."""
    parted_at: int | None
    """The first step at which the chains differ; None where they are equal as far as both go."""
    verdict: str
    """One sentence."""


def compare_chains(first: AuditReport, second: AuditReport) -> ChainComparison:
    """Link by link; each link covers all before it, so the last common one decides."""
    same = 0
    for mine, theirs in zip(first.chain, second.chain, strict=False):
        if mine.step != theirs.step:
            return _no_common_step(first, same, mine.step, theirs.step)
        if mine.sha256 != theirs.sha256:
            return _parted(same, mine.step)
        same = mine.step
    if not same:
        verdict = "nothing can be compared: one of the chains has no link yet"
        return ChainComparison(equal=False, last_equal_step=0, parted_at=None, verdict=verdict)
    if len(first.chain) == len(second.chain):
        verdict = f"the chains are equal, to their end at step {same}"
        return ChainComparison(equal=True, last_equal_step=same, parted_at=None, verdict=verdict)
    shorter = min(first, second, key=lambda report: len(report.chain))
    verdict = f"the chains are equal up to step {same}, where that of {shorter.run} ends"
    return ChainComparison(equal=False, last_equal_step=same, parted_at=None, verdict=verdict)


def result_differences(first: RunSpec, second: RunSpec) -> tuple[str, ...]:
    """In what the specs differ that decides the result, so that the chains must part."""
    threads = (first.resources.threads, second.resources.threads)
    of_threads = (
        (f"resources.threads was {threads[0]} and is {threads[1]}",) if threads[0] != threads[1] else ()
    )
    return (*spec_differences(first, second, but=_DO_NOT_MATTER), *of_threads)


def _parted(same: int, step: int) -> ChainComparison:
    since = f"they were equal at step {same}" if same else "they never were equal"
    verdict = f"the chains part at step {step}; {since}"
    return ChainComparison(equal=False, last_equal_step=same, parted_at=step, verdict=verdict)


def _no_common_step(first: AuditReport, same: int, mine: int, theirs: int) -> ChainComparison:
    verdict = (
        f"the chains cannot be compared after step {same}: {first.run} has its next link at step {mine}, the "
        f"other at step {theirs}; runs of one spec have them at the same steps"
    )
    return ChainComparison(equal=False, last_equal_step=same, parted_at=min(mine, theirs), verdict=verdict)
