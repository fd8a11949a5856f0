"""What a member does about a step that is not finite: say who computed what."""

import torch

from trainers.elastic.group import ElasticGroup
from trainers.elastic.messages import Offer, StepNotFinite
from trainers.elastic.step import StepRunner

_KINDS = ("loss", "gradient")


def find_own(steps: StepRunner, group: ElasticGroup, step: int) -> tuple[int, int] | None:
    """(logical shard, kind) of the first own shard of `step` that is not finite; computes them again."""
    for shard in range(*steps.owned(group)):
        what = steps.not_finite(step, shard)
        if what is not None:
            return shard, _KINDS.index(what)
    return None


def find_first(steps: StepRunner, group: ElasticGroup, offer: Offer, worker_id: str) -> StepNotFinite:
    """Of the step in flight, over all members at once."""
    step = steps.state.step + 1
    mine = find_own(steps, group, step) or (-1, 0)
    found = [(shard, kind, rank) for rank, (shard, kind) in enumerate(_gathered(group, mine)) if shard >= 0]
    shard, kind, rank = min(found, default=(-1, 1, -1))
    return told(steps, offer, worker_id, step, shard, kind, rank)


def told(
    steps: StepRunner, offer: Offer, worker_id: str, step: int, shard: int, kind: int, rank: int
) -> StepNotFinite:
    epoch, first, last = steps.span(step, shard if shard >= 0 else None)
    return StepNotFinite(
        worker_id=worker_id,
        generation=offer.generation,
        step=step,
        epoch=epoch,
        first=first,
        last=last,
        culprit=offer.members[rank] if rank >= 0 else "",
        shard=shard,
        what=_KINDS[kind],
    )


def _gathered(group: ElasticGroup, mine: tuple[int, int]) -> list[tuple[int, int]]:
    rows = group.gather(torch.tensor(mine))
    return [(int(row[0]), int(row[1])) for row in rows]
