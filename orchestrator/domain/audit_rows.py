"""Which rows were due, and which were used: per epoch, and per step."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.audit_journals import Claim, Plan

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


def audit_epochs(claims: Sequence[Claim], due: Plan | None) -> tuple[list[EpochAudit], list[str]]:
    """The verdict per epoch, and a sentence for each thing that is wrong.

    `due` says how many rows there are and how they are dealt; None where nobody can say.
    """
    claimed: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for claim in claims:
        claimed[claim.epoch].append((claim.first, claim.last))
    expected_by_epoch = rows_due(due, max((claim.step for claim in claims), default=0))
    epochs, problems = [], []
    for epoch in sorted(claimed.keys() | expected_by_epoch.keys()):
        expected = expected_by_epoch.get(epoch, 0)
        consumed, distinct, distinct_due = _measure(claimed[epoch], expected)
        repeated, missed, surplus = consumed - distinct, expected - distinct_due, distinct - distinct_due
        epochs.append(
            EpochAudit(epoch=epoch, expected=expected, consumed=consumed, repeated=repeated, missed=missed)
        )
        for count, what in ((repeated, "repeated"), (missed, "missed"), (surplus, "used that were not due")):
            if count:
                problems.append(f"epoch {epoch}: {count} rows {what}")
    return epochs, problems


def rows_due(plan: Plan | None, num_steps: int) -> dict[int, int]:
    """Epoch -> rows that `num_steps` steps use of it."""
    if plan is None or num_steps == 0:
        return {}
    whole, steps = divmod(num_steps, plan.steps_per_epoch)
    due = dict.fromkeys(range(whole), plan.rows)
    return {**due, whole: steps * plan.global_batch} if steps else due


def step_problems(claims: Sequence[Claim], due: Plan | None) -> Iterator[str]:
    """Steps that are missing, recorded twice, claimed by two generations, or used other rows than were
    due."""
    generations: dict[int, int] = {}
    again, elsewhere = [], []
    for claim in claims:
        other = generations.get(claim.step)
        if other is None:
            generations[claim.step] = claim.generation
        elif other == claim.generation:
            again.append(f"step {claim.step} is recorded twice")
        else:
            again.append(f"step {claim.step} is claimed by generations {other} and {claim.generation}")
        if due is not None and claim.step > 0 and claim[1:4] != due.span(claim.step):
            elsewhere.append(
                f"step {claim.step} used {_words(*claim[1:4])}, due was {_words(*due.span(claim.step))}"
            )
    yield from first_few(again)
    yield from first_few(elsewhere)
    yield from first_few(
        [
            f"step {low + 1} is missing" if high == low + 2 else f"steps {low + 1} to {high - 1} are missing"
            for low, high in itertools.pairwise([0, *sorted(generations)])
            if high > low + 1
        ]
    )


def first_few(sentences: Sequence[str]) -> Iterator[str]:
    yield from sentences[:_MAX_NAMED]
    if len(sentences) > _MAX_NAMED:
        yield f"and {len(sentences) - _MAX_NAMED} more like it"


def _words(epoch: int, first: int, last: int) -> str:
    return f"{first} to {last} of epoch {epoch}"


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
