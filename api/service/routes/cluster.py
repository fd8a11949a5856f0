"""What the cluster has, and what is said of its nodes. Said twice, a verb changes nothing."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.service.answers import NodeList, NodeShown
from api.service.documents import PREFIX, returns
from api.service.parts import Given
from api.service.representations import json_response, node_dict
from api.service.routes.runs import Since
from orchestrator.domain.goodput import ClusterGoodput
from orchestrator.domain.runs import Run
from orchestrator.ports.record import RunQuery

router = APIRouter(prefix=PREFIX, tags=["cluster"])
_PAGE: Final = 500
_LONGEST_S: Final = 30 * 86400.0


class Drain(BaseModel):
    model_config = ConfigDict(extra="forbid")

    deadline_s: Annotated[float, Field(ge=0, le=_LONGEST_S, allow_inf_nan=False)] | None = None
    """Seconds until the node is gone; left out where nobody knows."""
    reason: str = Field("", max_length=200)


@router.get("/cluster/nodes", **returns(200, NodeList))
async def list_nodes(parts: Given) -> Response:
    """The nodes, as Ray tells them now; 503 while Ray is away."""
    view = await parts.nodes.view()
    return json_response({"nodes": [node_dict(node) for node in view.nodes], "trouble": None})


@router.post("/cluster/nodes/{ref}/cordon", **returns(200, NodeShown, 404, 507))
async def cordon_node(ref: str, parts: Given) -> Response:
    """Start no new worker there; those that are there stay. `ref` is an id or a prefix of one, a host name
    or an address."""
    return json_response(node_dict(await parts.nodes.cordon(ref)))


@router.post("/cluster/nodes/{ref}/uncordon", **returns(200, NodeShown, 404, 409, 507))
async def uncordon_node(ref: str, parts: Given) -> Response:
    """Let workers start there again."""
    return json_response(node_dict(await parts.nodes.uncordon(ref)))


@router.post("/cluster/nodes/{ref}/drain", **returns(200, NodeShown, 404, 409, 413, 415, 507))
async def drain_node(ref: str, parts: Given, wish: Drain | None = None) -> Response:
    """Move all workers away: replacements first, then each leaves at a step boundary. No step is repeated."""
    asked = wish or Drain()
    node = await parts.nodes.drain(ref, deadline_s=asked.deadline_s, reason=asked.reason)
    return json_response(node_dict(node))


@router.get("/cluster/goodput", **returns(200, ClusterGoodput))
async def cluster_goodput(
    parts: Given,
    since: Annotated[Since | None, Query(description="Only of runs created at this time or later")] = None,
) -> Response:
    """Where the granted worker-seconds of all runs on record went, by queue and together."""
    runs: list[Run] = []
    cursor = None
    while True:
        query = RunQuery(since=None if since is None else str(since), limit=_PAGE, cursor=cursor)
        page = await parts.record.page(query)
        runs += page.runs
        cursor = page.next_cursor
        if cursor is None:
            break
    found = await asyncio.to_thread(parts.goodputs.of_cluster, runs)
    return json_response(found.model_dump(mode="json"))
