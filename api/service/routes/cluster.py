"""What the cluster has."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.service.answers import NodeList
from api.service.documents import PREFIX, returns
from api.service.parts import Given
from api.service.representations import json_response, node_dict
from api.service.routes.runs import Since
from orchestrator.domain.goodput import ClusterGoodput
from orchestrator.domain.runs import Run
from orchestrator.ports.record import RunQuery

router = APIRouter(prefix=PREFIX, tags=["cluster"])
_PAGE: Final = 500


@router.get("/cluster/nodes", **returns(200, NodeList))
async def list_nodes(parts: Given) -> Response:
    """The nodes, as Ray tells them now; 503 while Ray is away."""
    view = await asyncio.to_thread(parts.cluster.view)
    return json_response({"nodes": [node_dict(node) for node in view.nodes], "trouble": None})


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
