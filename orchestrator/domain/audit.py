"""The proof, from durable records, that every row of every epoch was used once, and the run's hash chain.

What was used is in the ledger, what was due follows from the spec and an own scan of the sources
(`pinned_data`), and both journals are sealed; see `audit_journals`.
"""

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.audit_journals import Chain, Ledger, Plan, chain_link, read_chain, read_ledger
from orchestrator.domain.audit_rows import EpochAudit, audit_epochs, first_few, step_problems
from orchestrator.domain.disk import is_disk_trouble
from orchestrator.domain.errors import StorageError
from orchestrator.domain.pinned_data import PinnedData
from orchestrator.domain.run_directory import RunDirectory, RunState
from orchestrator.domain.sealed_journal import SealedReader, Tip
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import RunStatus

__all__ = ["AuditReport", "ChainLink", "EpochAudit", "audit", "chain_link"]

_LOOKS: Final = 3
"""A living run is written while it is read: what is wrong with it must be wrong more than once."""


class ChainLink(BaseModel):
    model_config = ConfigDict(frozen=True)

    step: int
    sha256: str


class AuditReport(BaseModel):
    model_config = ConfigDict(frozen=True)

    run: str
    epochs: tuple[EpochAudit, ...] = ()
    steps: int = 0
    """Steps done, replays not counted."""
    parameters_sha256: str | None = None
    """At the newest link of the chain, as is the next one."""
    optimizer_sha256: str | None = None
    chain: tuple[ChainLink, ...] = ()
    ok: bool
    problems: tuple[str, ...] = ()
    """One sentence each; empty if and only if `ok`."""
    notes: tuple[str, ...] = ()
    """What must be known to read it right; nothing is wrong."""


def audit(run: RunDirectory) -> AuditReport:
    """Audits a run, living or ended, in memory of one entry a step.

    Damage is in the report; raises StorageError where the disk fails or status and spec cannot be read.
    """
    for _ in range(_LOOKS):
        state = run.read_status()  # first: what it acknowledges must be found
        report = _audit(run, run.spec(), state)
        if report.ok or state.reason is not None:
            break
    return report


def _audit(run: RunDirectory, spec: RunSpec, state: RunState) -> AuditReport:
    ended = state.status.terminal
    ledger_file, chain_file = (
        SealedReader(run.outbox, name, state.tips.get(name, Tip()), closed=ended and bool(state.tips))
        for name in ("ledger", "chain")
    )
    ledger = read_ledger(ledger_file.records())
    chain = read_chain(chain_file.records(), bitwise=spec.train.consistency == "bitwise")
    if not (ledger.claims or ledger_file.problems or ledger.problems or state.step):
        return AuditReport(run=run.name, ok=False, problems=(_why_no_ledger(spec, state),))
    chain.links = [link for link in chain.links if link.step <= ledger.num_steps]
    pinned, data_problems = _data_problems(run, ledger.plan)
    due = _due(ledger.plan, pinned)
    epochs, row_problems = audit_epochs(ledger.claims, due)
    problems = (
        *ledger_file.problems,
        *chain_file.problems,
        *ledger.problems,
        *data_problems,
        *_plan_problems(ledger.plan, spec),
        *step_problems(ledger.claims, due),
        *row_problems,
        *_ending_problems(state, spec, ledger, due),
        *first_few(chain.problems),
        *first_few(list(_missing_links(ledger, chain, state))),
    )
    newest = chain.links[-1] if chain.links else None
    return AuditReport(
        run=run.name,
        epochs=tuple(epochs),
        steps=ledger.num_steps,
        parameters_sha256=newest.parameters_sha256 if newest else None,
        optimizer_sha256=newest.optimizer_sha256 if newest else None,
        chain=tuple(ChainLink(step=link.step, sha256=link.chain) for link in chain.links),
        ok=not problems,
        problems=problems,
        notes=tuple(notes_on(spec)),
    )


def notes_on(spec: RunSpec) -> Iterator[str]:
    """What the reader of an audit must know of the spec."""
    if str(spec.train.consistency) != "bitwise":
        yield (
            f"train.consistency is {spec.train.consistency}: the rows are proven, but the chain can only be "
            "compared with that of a run that had the same workers at every step"
        )


def _why_no_ledger(spec: RunSpec, state: RunState) -> str:
    if spec.task is None:
        kind = "an entrypoint" if spec.entrypoint else "a command"
        return f"there is no ledger: {kind} deals its rows itself, and Tumbler cannot see which"
    if state.reason is None:
        return f"there is no ledger yet: the run is {state.status} and has done no step"
    return f"there is no ledger: the run ended before its first step ({state.reason})"


def _data_problems(run: RunDirectory, plan: Plan | None) -> tuple[PinnedData | None, list[str]]:
    """What was pinned, and where the plan differs from it."""
    try:
        pinned = run.read_data()
    except StorageError as error:
        if is_disk_trouble(error):
            raise
        return None, [str(error)]
    if pinned is None or plan is None:
        return pinned, []
    compared = (
        ("training rows", plan.rows, pinned.num_train_rows),
        ("validation rows", plan.validation_rows, pinned.num_validation_rows),
        ("the data with the fingerprint", plan.fingerprint, pinned.fingerprint),
    )
    return pinned, [
        f"the trainer was given other data than was scanned: {what} {given}, the scan found {scanned}"
        for what, given, scanned in compared
        if given is not None and scanned is not None and given != scanned
    ]


def _due(plan: Plan | None, pinned: PinnedData | None) -> Plan | None:
    """The plan as it should be: its rows by our own scan, where there is one."""
    if plan is None or pinned is None or not pinned.num_train_rows:
        return plan
    return plan.model_copy(update={"rows": pinned.num_train_rows})


def _plan_problems(plan: Plan | None, spec: RunSpec) -> Iterator[str]:
    if plan is None:
        yield "the ledger holds no plan, so nobody can say which rows were due"
        return
    train, told = spec.train, plan.model_fields_set
    for name, planned, wanted in (
        ("global_batch", plan.global_batch, train.global_batch),
        ("logical_shards", plan.logical_shards, train.logical_shards),
        ("seed", plan.seed, spec.shuffle_seed),
        ("window", plan.window, spec.data.shuffle.window),
    ):
        if name in told and planned != wanted:
            yield f"the ledger was planned with {name} {planned}, the spec says {wanted}"


def _ending_problems(state: RunState, spec: RunSpec, ledger: Ledger, due: Plan | None) -> Iterator[str]:
    done = ledger.num_steps
    if not ledger.claims:
        yield "the ledger holds no step"
    if state.status is not RunStatus.SUCCEEDED:
        return
    last = state.step if state.total_steps is None else state.total_steps
    if last != done:
        yield f"the run succeeded with step {last}, but the ledger ends at step {done}"
    elif due is not None:
        wanted = spec.train.steps or due.steps_per_epoch * (spec.train.epochs or 1)
        if wanted != done:
            yield f"the spec asks for {wanted} steps, but the run succeeded with step {done}"


def _missing_links(ledger: Ledger, chain: Chain, state: RunState) -> Iterator[str]:
    if ledger.plan is None or ledger.plan.link_every is None or not ledger.claims:
        return
    due = set(range(ledger.plan.link_every, ledger.num_steps + 1, ledger.plan.link_every))
    if state.status is RunStatus.SUCCEEDED:
        due.add(ledger.num_steps)
    found = {link.step for link in chain.links}
    yield from (f"the chain lacks its link at step {step}" for step in sorted(due - found))
    last = state.total_steps
    yield from (
        f"the chain has a link at step {step}, where none is due" for step in sorted(found - due - {last})
    )
