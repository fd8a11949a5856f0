"""Whether the service lives, whether it can work, what it is, and its metrics."""

import asyncio
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from api.service.answers import Liveness, Readiness, VersionShown
from api.service.documents import refusals, returns
from api.service.parts import Given, Parts
from api.service.prometheus import CONTENT_TYPE, Seen
from api.service.representations import json_response
from api.service.routes.queues import queue_rows
from orchestrator.domain.errors import StorageError

router = APIRouter(tags=["health"])
_PATIENCE_S: Final = 2.0
_METRICS: Final = {
    "description": "In the format of Prometheus",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_NOT_READY: Final = {"model": Readiness, "description": "It cannot work now, and says why"}


@router.get("/livez", **returns(200, Liveness))
async def livez() -> Response:
    """Whether the process answers at all."""
    return json_response({"alive": True})


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={**refusals(), 503: _NOT_READY},
)
async def readyz(parts: Given) -> Response:
    """Whether submits are taken and acted upon. Ray may be away: runs wait for it."""
    reasons = await _reasons(parts)
    content = {"ready": not reasons, "reasons": reasons, "ray": parts.reconciler.cluster_trouble}
    return json_response(content, 503 if reasons else 200)


@router.get("/version", **returns(200, VersionShown))
async def show_version() -> Response:
    """Which version this is."""
    return json_response(
        {
            "tumbler": _version("tumbler"),
            "ray": _version("ray"),
            "python": platform.python_version(),
            "api": "v1",
        }
    )


@router.get("/metrics", response_class=Response, responses={200: _METRICS, **refusals()})
async def metrics(parts: Given) -> Response:
    """What Prometheus reads."""
    counts, active = await parts.record.counts(), await parts.record.active()
    spent = await asyncio.to_thread(parts.goodputs.of_readable, active)
    seen = Seen(
        counts,
        active,
        spent,
        await queue_rows(parts),
        parts.reconciler.last_view,
        cluster_up=parts.reconciler.last_view is not None and parts.reconciler.cluster_trouble is None,
        reconciling=parts.reconciling(),
    )
    return Response(parts.gauges.text(seen), media_type=CONTENT_TYPE)


async def _reasons(parts: Parts) -> list[str]:
    reasons = []
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await parts.record.counts()
    except StorageError as error:
        reasons.append(f"the record cannot be read: {error.message}")
    except TimeoutError:
        reasons.append(f"the record did not answer within {_PATIENCE_S:g} s")
    if not parts.reconciling():
        reasons.append("the reconciler does not run")
    return reasons


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
