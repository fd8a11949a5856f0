"""POST /runs, the one route that must be fast: a thousand a second on half a core, each of them durable."""

import asyncio
import hashlib
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.service.answers import DryRun, RunDetail
from api.service.documents import PREFIX, refusals, spec_body
from api.service.door import LARGE, Received, read_json, read_yaml
from api.service.parts import Parts
from api.service.plans import plan_of
from api.service.representations import json_response, run_response
from api.service.shipping import check_uploaded, pack_folder
from orchestrator.domain.errors import Problem, RunExists, RunNotFound, SpecError
from orchestrator.domain.runs import claim_of
from orchestrator.domain.spec import RunSpec
from orchestrator.ports.record import IdempotencyKey
from orchestrator.scheduling.room import need_of_claim
from orchestrator.scheduling.sentences import never_within
from orchestrator.services.runs import Submit

_LONGEST_KEY: Final = 255
_YES_NO: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


router = APIRouter(prefix=PREFIX, tags=["runs"])
_PARAMETERS: Final = [
    {
        "name": "dry_run",
        "in": "query",
        "description": "Check the spec and say what would become of it; nothing is submitted",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key and body again is answered with the run of the first time",
        "schema": {"type": "string", "minLength": 1, "maxLength": _LONGEST_KEY, "pattern": "^[!-~]+$"},
    },
]


@router.post(
    "/runs",
    status_code=201,
    response_model=RunDetail,
    responses={
        200: {"model": RunDetail | DryRun, "description": "A replay, or the plan of a dry run"},
        **refusals(409, 413, 415, 507),
    },
    openapi_extra={"requestBody": spec_body(), "parameters": _PARAMETERS},
)
async def submit_run(request: Request) -> Response:
    """Submit a run. When this answers 201, the run is on the disk."""
    parts: Parts = request.app.state.parts
    dry_run = _dry_run(request)
    body = await request.body()
    received = await _read(request, body, parts.storage)
    if received.asks_storage:
        received = await asyncio.to_thread(received.settled)
    key = _key(request, body)
    if received.named:
        await _check_folder(parts, received.spec)
    _check_quota(parts, received.spec)
    if dry_run:
        return json_response(await plan_of(parts, received))
    package = received.package
    if package is not None:
        check_uploaded(parts.packages, package)
    elif received.working_dir is not None:
        package = await asyncio.to_thread(
            pack_folder, received.working_dir, received.spec.code.exclude, parts.packages
        )
    added = await parts.runs.submit(Submit(received.spec, package), key)
    headers = {"Location": f"/api/v1/runs/{added.run.id}"}
    if added.replayed:
        return run_response(added.run, 200, headers={**headers, "Idempotency-Replayed": "true"})
    # It is taken all the same: a node may come.
    never = parts.reconciler.warning_of(added.run)
    wait = None if never is None else {"position": None, "why": never}
    return run_response(added.run, 201, wait=wait, headers=headers)


def _check_quota(parts: Parts, spec: RunSpec) -> None:
    """What its queue may never hold is refused: somebody decided that, and no node will change it."""
    queue = parts.reconciler.queues.get(spec.queue)
    if queue is None or not queue.quota:
        return
    never = never_within(need_of_claim(claim_of(spec)), spec.workers.min, queue)
    if never is not None:
        hint = "scale it down, choose another queue, or raise the quota with `tumbler queues set`"
        raise SpecError([Problem("workers.min", never)], hint=hint)


async def _read(request: Request, body: bytes, storage: Path) -> Received:
    yaml = b"yaml" in dict(request.scope["headers"]).get(b"content-type", b"")
    read = read_yaml if yaml else read_json
    if yaml or len(body) > LARGE:
        return await asyncio.to_thread(read, body, storage)
    return read(body, storage)


def _dry_run(request: Request) -> bool:
    if not request.scope["query_string"]:
        return False
    given = request.query_params.get("dry_run", "")
    if given.lower() not in _YES_NO:
        raise SpecError([Problem("", f"query parameter dry_run: expected true or false, got {given!r}")])
    return _YES_NO[given.lower()]


def _key(request: Request, body: bytes) -> IdempotencyKey | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= _LONGEST_KEY or not key.isascii() or not key.isprintable():
        message = f"header Idempotency-Key: expected 1 to {_LONGEST_KEY} printable characters"
        raise SpecError([Problem("", message)])
    return IdempotencyKey(key, hashlib.sha256(body).hexdigest())


async def _check_folder(parts: Parts, spec: RunSpec) -> None:
    """A run directory of that name which is not of a run in the record: of `tumbler run`, or left over."""
    storage = spec.checkpoint.storage
    if not await parts.folders.has(storage, spec.name):
        return
    try:
        if (await parts.record.find(spec.name)).name == spec.name:
            return  # the record itself knows whether this is a replay
    except RunNotFound:
        pass
    raise RunExists(
        f"{storage}/{spec.name} is there already and belongs to no run of this service",
        hint="choose another name",
    )
