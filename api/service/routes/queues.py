"""Queues: what their runs may hold together, and what they hold."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.service.answers import QueueList, QueueShown
from api.service.documents import PREFIX, returns
from api.service.parts import Given, Parts
from api.service.representations import json_response
from orchestrator.domain.queues import Queue, checked_queue
from orchestrator.scheduling.room import need_of

router = APIRouter(prefix=PREFIX, tags=["queues"])
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class QueueAsked(BaseModel):
    """What is left out has no limit, and the weight 1."""

    model_config = ConfigDict(extra="forbid")

    quota: dict[str, Amount] = Field(default_factory=dict)
    """`workers`, `CPU`, `GPU` (devices) or `memory` (bytes): the most that its runs hold together."""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


@router.get("/queues", **returns(200, QueueList))
async def list_queues(parts: Given) -> Response:
    """All queues that have a quota, a weight or a run that is not over."""
    return json_response({"queues": await queue_rows(parts)})


@router.put("/queues/{name}", **returns(200, QueueShown, 413, 415, 507))
async def set_queue(name: Annotated[str, Path(max_length=1000)], asked: QueueAsked, parts: Given) -> Response:
    """Set quota and weight of a queue. No run loses its smallest group by it; surplus is given back."""
    queue = checked_queue(name, asked.quota, asked.weight)
    await parts.record.put_queue(queue)
    parts.reconciler.wake()
    parts.bulletin.cluster_changed()
    shown = {row["name"]: row for row in await queue_rows(parts)}
    return json_response(shown[name])


async def queue_rows(parts: Parts) -> list[dict[str, Any]]:
    """As QueueShown says, by name: those that have a quota, a weight or a run that is not over."""
    known = {queue.name: queue for queue in await parts.record.queues()}
    active, waiting = await parts.record.active(), await parts.record.waiting()
    held: dict[str, Counter[str]] = {}
    for run in active:
        need = need_of(run)
        mine = held.setdefault(run.queue, Counter())
        for kind in ("workers", *{*need.worker, *need.feed}):
            mine[kind] += need.of(kind, run.target)  # type: ignore[assignment]
    running = Counter(run.queue for run in active)
    rows = []
    for name in sorted({*known, *running, *waiting}):
        queue = known.get(name, Queue(name))
        rows.append(
            {
                "name": name,
                "quota": dict(queue.quota),
                "weight": queue.weight,
                "held": dict(held.get(name, {})),
                "running": running[name],
                "waiting": waiting.get(name, 0),
            }
        )
    return rows
