"""The checkpoints of a run: listed, checked, removed, and their models taken away."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.responses import Response, StreamingResponse

from api.checkpoints import check_checkpoint, find_checkpoint, list_checkpoints, remove_checkpoint
from api.service.answers import CheckpointCheck, CheckpointList
from api.service.documents import PREFIX, refusals, returns
from api.service.exports import exported
from api.service.parts import Given
from api.service.representations import json_response, run_folder
from orchestrator.domain.run_directory import RunDirectory

router = APIRouter(prefix=PREFIX, tags=["checkpoints"])
Step = Annotated[int, Path(ge=0, le=10**18 - 1)]
_TAR: Final = "application/x-tar"
_ARCHIVE: Final = {
    "description": "model.safetensors, config.json, README.md; network and tokenizer where there are",
    "content": {_TAR: {"schema": {"type": "string", "format": "binary"}}},
}


@router.get("/runs/{ref}/checkpoints", name="list_checkpoints", **returns(200, CheckpointList, 404))
async def list_run_checkpoints(ref: str, parts: Given) -> Response:
    """Committed checkpoints, newest first."""
    run = await parts.record.find(ref)
    rows = await asyncio.to_thread(list_checkpoints, RunDirectory(run_folder(run)))
    return json_response({"checkpoints": [row.content() for row in rows]})


@router.post("/runs/{ref}/checkpoints/{step}/verify", **returns(200, CheckpointCheck, 404))
async def verify_checkpoint(ref: str, step: Step, parts: Given) -> Response:
    """Read a checkpoint in full, and say whether it is what was committed."""
    run = await parts.record.find(ref)
    result = await asyncio.to_thread(check_checkpoint, RunDirectory(run_folder(run)), step)
    return json_response(result.content())


@router.delete(
    "/runs/{ref}/checkpoints/{step}",
    status_code=204,
    response_class=Response,
    response_description="It is gone",
    responses=refusals(404, 409, 507),
)
async def delete_checkpoint(ref: str, step: Step, parts: Given) -> Response:
    """Remove a checkpoint for good; not the newest of a run that is not over, which goes on from it."""
    run = await parts.record.find(ref)
    directory = RunDirectory(run_folder(run))
    await asyncio.to_thread(remove_checkpoint, directory, step, over=run.status.terminal)
    return Response(status_code=204)


@router.get(
    "/runs/{ref}/checkpoints/{step}/export",
    response_class=StreamingResponse,
    responses={200: _ARCHIVE, **refusals(404, 409, 507)},
)
async def export_checkpoint(ref: str, step: Step, parts: Given) -> Response:
    """The model of a checkpoint as a tar archive of files that anybody can load."""
    run = await parts.record.find(ref)
    directory = RunDirectory(run_folder(run))
    found = await asyncio.to_thread(find_checkpoint, directory, step)
    archive = await exported(directory, step)
    headers = {
        "Content-Length": str(archive.size),
        "Content-Disposition": f'attachment; filename="{run.name}-{found.name}.tar"',
    }
    return StreamingResponse(archive.chunks(), headers=headers, media_type=_TAR)
