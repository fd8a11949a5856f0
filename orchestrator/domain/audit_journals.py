"""What the ledger and the chain of a run say, and what is wrong with them as journals.

Ledger: `{"kind": "plan", "rows", "global_batch", ...}` (see `Plan`) first, and again only where it changed;
then for each step that was done `{"step", "epoch", "first", "last", "generation"}` with half-open positions
in the order of the epoch. Steps count from 1, epochs from 0; the last batch of an epoch may be short.

Chain: `{"step", "parameters_sha256", "optimizer_sha256", "chain"}` every `link_every` steps and at the last
one; see `chain_link`.

In both, `{"kind": "rewind", "step"}` says that training went on from a checkpoint of that step: what was done
after it is undone, and is done again by the records that follow. One of the chain that is `"distrusted"`
undoes what replicas with differing bits had come to, which need not come again. Both are sealed, see
`sealed_journal`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_Count = Annotated[int, Field(ge=1)]


class Plan(BaseModel):
    """What the trainer set out to do. A field that is None was not told."""

    model_config = ConfigDict(frozen=True)

    rows: _Count
    """Training rows of an epoch."""
    global_batch: _Count
    validation_rows: int | None = None
    fingerprint: str | None = None
    """Of the data, as the trainer read it."""
    logical_shards: int | None = None
    seed: int | None = None
    """Of the order of the rows."""
    window: int | None = None
    link_every: _Count | None = None
    """Steps between two links of the chain."""

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.rows // self.global_batch)

    def span(self, step: int) -> tuple[int, int, int]:
        """(epoch, first, last): the positions that are due at `step`, which counts from 1."""
        epoch, batch = divmod(step - 1, self.steps_per_epoch)
        first = batch * self.global_batch
        return epoch, first, min(first + self.global_batch, self.rows)

    def differences(self, other: "Plan") -> str:
        """Such as `rows was 10 and is 9`, where `other` is the later one."""
        mine, theirs = self.model_dump(), other.model_dump()
        changed = [name for name in mine if mine[name] != theirs[name]]
        return ", ".join(f"{name} was {mine[name]} and is {theirs[name]}" for name in changed)


class Claim(NamedTuple):
    """A step that was done, and the rows it used."""

    step: int
    epoch: int
    first: int
    last: int
    generation: int


class Link(NamedTuple):
    step: int
    parameters_sha256: str
    optimizer_sha256: str
    chain: str


@dataclass
class Ledger:
    plan: Plan | None = None
    claims: list[Claim] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def num_steps(self) -> int:
        return max((claim.step for claim in self.claims), default=0)


@dataclass
class Chain:
    links: list[Link] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def chain_link(previous: str, step: int, parameters_sha256: str, optimizer_sha256: str) -> str:
    """The next link of the trajectory hash chain (hex) after `previous`, which is "" for the first one."""
    text = f"{previous}:{step}:{parameters_sha256}:{optimizer_sha256}"
    return hashlib.sha256(text.encode()).hexdigest()


def read_ledger(records: Iterable[Mapping[str, Any]]) -> Ledger:
    ledger = Ledger()
    for record in records:
        try:
            match record.get("kind"):
                case None:
                    ledger.claims.append(Claim(*(_number(record, name) for name in Claim._fields)))
                case "rewind":
                    step = _number(record, "step")
                    ledger.claims = [claim for claim in ledger.claims if claim.step <= step]
                case "plan":
                    _plan(ledger, Plan.model_validate(record))
                case _:
                    pass  # a note of a later version
        except (ValueError, ValidationError):
            ledger.problems.append(f"record {record['seq']} of the ledger makes no sense")
    return ledger


def read_chain(records: Iterable[Mapping[str, Any]], *, bitwise: bool = True) -> Chain:
    """`bitwise`: a step that is done again must give the same parameters."""
    chain = Chain()
    seen: dict[int, Link] = {}
    for record in records:
        try:
            if record.get("kind") == "rewind":
                step = _number(record, "step")
                chain.links = [link for link in chain.links if link.step <= step]
                if record.get("distrusted"):
                    seen = {done: link for done, link in seen.items() if done <= step}
            elif "kind" not in record:
                _link(chain, seen if bitwise else {}, _link_of(record))
        except ValueError:
            chain.problems.append(f"record {record['seq']} of the chain makes no sense")
    return chain


def _plan(ledger: Ledger, plan: Plan) -> None:
    if ledger.plan is not None and ledger.plan != plan:
        ledger.problems.append(f"the plan changed on the way: {ledger.plan.differences(plan)}")
    ledger.plan = plan


def _link(chain: Chain, seen: dict[int, Link], link: Link) -> None:
    before = seen.setdefault(link.step, link)
    if before[:3] != link[:3]:
        chain.problems.append(f"step {link.step} was done twice and gave different parameters")
    newest = chain.links[-1] if chain.links else None
    if newest is not None and newest.step >= link.step:
        chain.problems.append(f"the chain holds step {link.step} after step {newest.step}")
    if link.chain != chain_link(newest.chain if newest else "", *link[:3]):
        chain.problems.append(f"the hash chain is broken at step {link.step}")
    chain.links.append(link)


def _link_of(record: Mapping[str, Any]) -> Link:
    hashes = [record.get(name) for name in Link._fields[1:]]
    if not all(isinstance(value, str) for value in hashes):
        raise ValueError(record)
    return Link(_number(record, "step"), *(str(value) for value in hashes))


def _number(record: Mapping[str, Any], name: str) -> int:
    value = record.get(name)
    if type(value) is not int or value < 0:
        raise ValueError(record)
    return value
