"""The proof, from durable records, that every row of every epoch was used once, and the run's hash chain.

Journal `ledger` in the outbox: first `{"kind": "plan", "rows", "global_batch"}`, then for each step that was
done `{"step", "epoch", "first", "last", "generation"}` with half-open positions in the order of the epoch.
Steps count from 1, epochs from 0; the last batch of an epoch may be short. `{"kind": "rewind", "step"}` says
that training went on from a checkpoint of that step: what was done after it is undone, and its rows are used
again by the steps that follow.

Journal `chain`: `{"step", "parameters_sha256", "chain"}` every k steps and at the last one, where it may also
have "optimizer_sha256"; see `chain_link`. A step that was done again after a rewind is recorded again.
"""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus

_MAX_NAMED = 5
"""Problems of one kind are named up to here, and counted beyond."""


class EpochAudit(BaseModel):
    model_config = ConfigDict(frozen=True)

    epoch: int
    expected: int
    """Rows that the steps done so far should have used; all rows but in the last epoch."""
    consumed: int
    """Rows used, each as often as it was used."""
    repeated: int
    """Uses of a row after its first one."""
    missed: int
    """Expected rows never used."""


class ChainLink(BaseModel):
    model_config = ConfigDict(frozen=True)

    step: int
    sha256: str


class AuditReport(BaseModel):
    model_config = ConfigDict(frozen=True)

    run: str
    epochs: tuple[EpochAudit, ...]
    steps: int
    """Steps done, replays not counted."""
    parameters_sha256: str | None
    """At the newest link of the chain, as is the next one."""
    optimizer_sha256: str | None
    chain: tuple[ChainLink, ...]
    ok: bool
    problems: tuple[str, ...]
    """One sentence each; empty if and only if `ok`."""


def audit(run: RunDirectory) -> AuditReport:
    """Audits a run, living or ended, in memory of one entry a step. Raises StorageError."""
    ledger = _read_ledger(read_journal(run.outbox, "ledger"))
    chain = _read_chain(read_journal(run.outbox, "chain"))
    num_steps = max((claim.step for claim in ledger.claims), default=0)
    epochs, row_problems = _audit_epochs(ledger, num_steps)
    problems = (
        *ledger.problems,
        *_step_problems(ledger.claims),
        *row_problems,
        *_ending_problems(run, num_steps),
        *chain.problems,
    )
    return AuditReport(
        run=run.name,
        epochs=tuple(epochs),
        steps=num_steps,
        parameters_sha256=chain.records[-1]["parameters_sha256"] if chain.records else None,
        optimizer_sha256=chain.records[-1].get("optimizer_sha256") if chain.records else None,
        chain=tuple(ChainLink(step=record["step"], sha256=record["chain"]) for record in chain.records),
        ok=not problems,
        problems=problems,
    )


def chain_link(previous: str, step: int, parameters_sha256: str) -> str:
    """The next link of the trajectory hash chain (hex) after `previous`, which is "" for the first one."""
    return hashlib.sha256(f"{previous}:{step}:{parameters_sha256}".encode()).hexdigest()


class _Claim(NamedTuple):
    step: int
    epoch: int
    first: int
    last: int
    generation: int


@dataclass
class _Ledger:
    plan: tuple[int, int] | None = None
    """(rows, global batch)"""
    claims: list[_Claim] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class _Chain:
    records: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _read_ledger(records: Iterable[Mapping[str, Any]]) -> _Ledger:
    ledger = _Ledger()
    for record in records:
        match record.get("kind"):
            case None:
                ledger.claims.append(_Claim(*(record[name] for name in _Claim._fields)))
            case "rewind":
                ledger.claims = [claim for claim in ledger.claims if claim.step <= record["step"]]
            case "plan":
                plan = (record["rows"], record["global_batch"])
                if ledger.plan not in (None, plan):
                    ledger.problems.append(
                        f"the plan changed on the way from {ledger.plan} to {plan} (rows, batch)"
                    )
                ledger.plan = plan
            case _:
                pass  # a note of a later version
    if not ledger.claims:
        ledger.problems.append("the ledger holds no step")
    if ledger.plan is None:
        ledger.problems.append("the ledger holds no plan, so nobody can say which rows were due")
    return ledger


def _read_chain(records: Iterable[dict[str, Any]]) -> _Chain:
    chain = _Chain()
    for record in records:
        step, parameters = record["step"], record["parameters_sha256"]
        while chain.records and chain.records[-1]["step"] >= step:
            undone = chain.records.pop()
            if undone["step"] == step and undone["parameters_sha256"] != parameters:
                chain.problems.append(f"step {step} was done twice and gave different parameters")
        previous = chain.records[-1]["chain"] if chain.records else ""
        if record["chain"] != chain_link(previous, step, parameters):
            chain.problems.append(f"the hash chain is broken at step {step}")
        chain.records.append(record)
    return chain


def _step_problems(claims: list[_Claim]) -> Iterator[str]:
    """Steps that are missing, recorded twice or claimed by two generations."""
    generations: dict[int, int] = {}
    again = []
    for claim in claims:
        other = generations.get(claim.step)
        if other is None:
            generations[claim.step] = claim.generation
        elif other == claim.generation:
            again.append(f"step {claim.step} is recorded twice")
        else:
            again.append(f"step {claim.step} is claimed by generations {other} and {claim.generation}")
    yield from _first_few(again)
    yield from _first_few(
        [
            f"step {low + 1} is missing" if high == low + 2 else f"steps {low + 1} to {high - 1} are missing"
            for low, high in itertools.pairwise([0, *sorted(generations)])
            if high > low + 1
        ]
    )


def _audit_epochs(ledger: _Ledger, num_steps: int) -> tuple[list[EpochAudit], list[str]]:
    claimed: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for claim in ledger.claims:
        claimed[claim.epoch].append((claim.first, claim.last))
    due = _rows_due(ledger.plan, num_steps)
    epochs, problems = [], []
    for epoch in sorted(claimed.keys() | due.keys()):
        expected = due.get(epoch, 0)
        consumed, distinct, distinct_due = _measure(claimed[epoch], expected)
        repeated, missed, surplus = consumed - distinct, expected - distinct_due, distinct - distinct_due
        epochs.append(
            EpochAudit(epoch=epoch, expected=expected, consumed=consumed, repeated=repeated, missed=missed)
        )
        for count, what in ((repeated, "repeated"), (missed, "missed"), (surplus, "used that were not due")):
            if count:
                problems.append(f"epoch {epoch}: {count} rows {what}")
    return epochs, problems


def _rows_due(plan: tuple[int, int] | None, num_steps: int) -> dict[int, int]:
    """Epoch -> rows that `num_steps` steps use of it."""
    if plan is None or num_steps == 0:
        return {}
    rows, global_batch = plan
    whole, steps = divmod(num_steps, -(-rows // global_batch))
    due = dict.fromkeys(range(whole), rows)
    return {**due, whole: steps * global_batch} if steps else due


def _measure(spans: list[tuple[int, int]], limit: int) -> tuple[int, int, int]:
    """(total length, length of the union, length of the union below `limit`) of half-open spans."""
    total = union = below = end = 0
    for first, last in sorted(spans):
        total += last - first
        new = max(first, end)
        if last > new:
            union += last - new
            below += max(0, min(last, limit) - new)
            end = last
    return total, union, below


def _ending_problems(run: RunDirectory, num_steps: int) -> Iterator[str]:
    state = run.read_status()
    last = state.step if state.total_steps is None else state.total_steps
    if state.status is RunStatus.SUCCEEDED and last != num_steps:
        yield f"the run succeeded with step {last}, but the ledger ends at step {num_steps}"


def _first_few(sentences: list[str]) -> Iterator[str]:
    yield from sentences[:_MAX_NAMED]
    if len(sentences) > _MAX_NAMED:
        yield f"and {len(sentences) - _MAX_NAMED} more like it"
