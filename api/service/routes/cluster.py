"""What the cluster has."""

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from api.service.answers import NodeList
from api.service.documents import PREFIX, returns
from api.service.parts import Given
from api.service.representations import json_response, node_dict

router = APIRouter(prefix=PREFIX, tags=["cluster"])


@router.get("/cluster/nodes", **returns(200, NodeList))
async def list_nodes(parts: Given) -> Response:
    """The nodes, as Ray tells them now; 503 while Ray is away."""
    view = await asyncio.to_thread(parts.cluster.view)
    return json_response({"nodes": [node_dict(node) for node in view.nodes], "trouble": None})
