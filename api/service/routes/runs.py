"""Runs as a collection, and one of them: list, get, change, delete."""

import asyncio
import re
import shutil
import uuid
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.service.answers import RunDetail, RunList
from api.service.documents import PREFIX, refusals, returns
from api.service.parts import Given
from api.service.representations import etag, json_response, run_folder, run_response
from api.service.waits import listed_dict, wait_dict
from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import Stale
from orchestrator.domain.events import timestamp
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import RunQuery
from orchestrator.services.runs import Workers

router = APIRouter(prefix=PREFIX, tags=["runs"])
_SORTS = Literal["created", "-created", "name", "-name", "priority", "-priority", "updated", "-updated"]
_LABEL: Final = r"^[^=]+=.*$"
_TAG: Final = re.compile(r'"(\d{1,15})"')
_TRIES: Final = 5
_OWNER: Final = "owner"
"""The file of a run directory that says whose it is; see `orchestrator.domain.run_directory`."""


def _as_text(moment: Any) -> str:
    try:
        return timestamp(moment)
    except OverflowError:
        raise ValueError("expected a time of this era") from None


Since = Annotated[AwareDatetime, AfterValidator(_as_text)]


class WorkersAsked(BaseModel):
    """Either bound may be left as it is."""

    model_config = ConfigDict(extra="forbid")

    min: int | None = Field(None, ge=1, le=1_000_000)
    max: int | None = Field(None, ge=1, le=1_000_000)


WorkerCount = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class RunPatch(BaseModel):
    """A merge patch (RFC 7396): what is left out stays as it is, null removes a label."""

    model_config = ConfigDict(extra="forbid")

    labels: dict[str, str | None] | None = None
    priority: int | None = Field(None, strict=True, ge=0, le=100)
    workers: WorkerCount | WorkersAsked | None = None


@router.get("/runs", **returns(200, RunList))
async def list_runs(
    parts: Given,
    status: Annotated[list[RunStatus], Query(default_factory=list)],
    label: Annotated[
        list[Annotated[str, Field(pattern=_LABEL)]],
        Query(default_factory=list, description="`key=value`; may be repeated, all must hold"),
    ],
    queue: str | None = None,
    name: Annotated[str | None, Query(description="How the name begins")] = None,
    q: Annotated[str | None, Query(description="What the name or the id contains", max_length=100)] = None,
    since: Annotated[Since | None, Query(description="Created at this time or later")] = None,
    sort: _SORTS = "-created",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> Response:
    """List runs a page at a time, without their specs."""
    query = RunQuery(
        statuses=tuple(status),
        labels=dict(pair.split("=", 1) for pair in label) or None,
        queue=queue,
        name=name,
        part=q,
        since=None if since is None else str(since),
        sort=sort,
        limit=limit,
        cursor=cursor,
    )
    page = await parts.record.page(query)
    shown = [listed_dict(run, parts.reconciler) for run in page.runs]
    return json_response({"runs": shown, "next_cursor": page.next_cursor, "total": page.total})


@router.get("/runs/{ref}", **returns(200, RunDetail, 404))
async def get_run(ref: str, parts: Given) -> Response:
    """Get a run by its id, its name or a unique prefix of either."""
    run = await parts.record.find(ref)
    position = 1 + await parts.record.num_ahead(run) if run.status is RunStatus.QUEUED else None
    return run_response(run, wait=wait_dict(run, parts.reconciler, position))


@router.patch("/runs/{ref}", **returns(200, RunDetail, 404, 409, 412, 413, 415, 428, 507))
async def change_run(
    ref: str,
    patch: RunPatch,
    parts: Given,
    if_match: Annotated[str | None, Header(description="The ETag of what was read, or `*`")] = None,
) -> Response:
    """Change labels, priority or workers, unless the run was changed since it was read."""
    if if_match is None:
        raise HTTPException(428, "send If-Match with the ETag of the run that you read, or *")
    workers = patch.workers
    asked = Workers(workers.min, workers.max) if isinstance(workers, WorkersAsked) else workers
    for attempt in range(_TRIES):
        run = await parts.record.find(ref)
        try:
            changed = await parts.runs.patch(
                run.id,
                if_version=_wanted_version(if_match, run),
                labels=patch.labels,
                priority=patch.priority,
                workers=asked,
            )
        except Stale:
            if if_match.strip() != "*" or attempt == _TRIES - 1:
                raise
        else:
            return run_response(changed)
    raise AssertionError("the last try returns or raises")


@router.delete("/runs/{ref}", status_code=204, response_class=Response, responses=refusals(404, 409, 507))
async def delete_run(
    ref: str,
    parts: Given,
    keep_files: Annotated[bool, Query(description="Leave the run directory where it is")] = False,
) -> Response:
    """Forget a run that is over, and remove its run directory."""
    run = await parts.runs.delete(ref)
    await asyncio.to_thread(parts.points.forget, run.id)
    if not keep_files:
        await asyncio.to_thread(_remove, run_folder(run), run.id)
    return Response(status_code=204)


def _wanted_version(if_match: str, run: Run) -> int:
    """The version that may be changed; one that never was where no tag is of this run as it is."""
    tags = [tag.strip() for tag in if_match.split(",")]
    if "*" in tags or etag(run) in tags:
        return run.version
    match = _TAG.fullmatch(tags[0])
    return int(match[1]) if match else 0


def _remove(folder: Path, owner: str) -> None:
    """Out of the way first, so that the name is free at once; only what was made for this run."""
    with storage_errors("remove", folder):
        mark = folder / _OWNER
        if not mark.is_file() or mark.read_text() != owner:
            return
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        folder.rename(aside)
        shutil.rmtree(aside)
