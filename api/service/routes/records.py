"""What became of a run: its attempts and generations, events and logs."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query
from starlette.responses import Response, StreamingResponse

from api.service.answers import (
    AttemptList,
    DriverList,
    EventList,
    GenerationList,
    LogList,
)
from api.service.documents import PREFIX, refusals, returns
from api.service.logs import LogCursor, LogQuery, last_lines, next_lines
from api.service.parts import Given
from api.service.representations import (
    attempt_dict,
    driver_dict,
    event_dict,
    generation_dict,
    json_response,
    run_folder,
)
from api.service.routes.overview import STREAM_HEADERS
from api.service.streams import Place, RunStream
from orchestrator.domain.audit import AuditReport, audit
from orchestrator.domain.errors import RunNotFound
from orchestrator.domain.goodput import RunGoodput
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.runs import Run

router = APIRouter(prefix=PREFIX, tags=["records"])
_LARGEST: Final = 2**53
_SENT_EVENT: Final = {
    "type": "object",
    "description": "One server-sent event by its fields; `data` is JSON, `id` the place to resume from",
    "properties": {
        "event": {"enum": ["status", "event", "worker", "metric", "log", "trouble", "end"]},
        "data": {"type": "string"},
        "id": {"type": "string", "pattern": "^[0-9]+[.][0-9]+$"},
    },
    "required": ["event", "data", "id"],
}
_STREAM: Final = {
    "description": "Server-sent events: what happens to the run, until at last `end`",
    "content": {"text/event-stream": {"schema": _SENT_EVENT}},
}


@router.get("/runs/{ref}/attempts", **returns(200, AttemptList, 404))
async def list_attempts(ref: str, parts: Given) -> Response:
    """The lives of the run's controller, oldest first."""
    run = await parts.record.find(ref)
    return json_response({"attempts": [attempt_dict(row) for row in await parts.record.attempts(run.id)]})


@router.get("/runs/{ref}/drivers", **returns(200, DriverList, 404))
async def list_drivers(ref: str, parts: Given) -> Response:
    """The Ray Jobs that held a controller of the run, oldest first."""
    run = await parts.record.find(ref)
    return json_response({"drivers": [driver_dict(row) for row in await parts.record.drivers(run.id)]})


@router.get("/runs/{ref}/generations", **returns(200, GenerationList, 404))
async def list_generations(ref: str, parts: Given) -> Response:
    """Each membership of the worker group, oldest first."""
    run = await parts.record.find(ref)
    rows = await parts.record.generations(run.id)
    return json_response({"generations": [generation_dict(row) for row in rows]})


@router.get("/runs/{ref}/audit", **returns(200, AuditReport, 404))
async def audit_run(ref: str, parts: Given) -> Response:
    """Whether each row of each epoch was used once, and the hash chain of the trajectory."""
    run = await parts.record.find(ref)
    report = await asyncio.to_thread(audit, await _directory(run))
    return json_response(report.model_dump(mode="json"))


@router.get("/runs/{ref}/goodput", **returns(200, RunGoodput, 404))
async def goodput_of_run(ref: str, parts: Given) -> Response:
    """Where the granted worker-seconds of the run went: each in one bucket, and they add up."""
    run = await parts.record.find(ref)
    await _directory(run)
    report = await asyncio.to_thread(parts.goodputs.of, run)
    assert report is not None, "its directory is there"
    return json_response(report.model_dump(mode="json"))


@router.get("/runs/{ref}/events", **returns(200, EventList, 404))
async def list_events(
    ref: str,
    parts: Given,
    after: Annotated[int, Query(ge=0, le=_LARGEST, description="Only those with a greater `seq`")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> Response:
    """What happened to the run, oldest first; `seq` counts without gaps."""
    run = await parts.record.find(ref)
    events = await parts.record.events(run.id, after=after, limit=limit)
    last = events[-1].seq if events else after
    return json_response({"events": [event_dict(event) for event in events], "next_after": last})


@router.get("/runs/{ref}/logs", **returns(200, LogList, 404))
async def read_logs(
    ref: str,
    parts: Given,
    worker: Annotated[str | None, Query(max_length=100)] = None,
    attempt: Annotated[int | None, Query(ge=1, le=_LARGEST)] = None,
    tail: Annotated[int, Query(ge=0, le=10_000, description="Lines of each worker")] = 200,
    since: Annotated[
        str | None, Query(max_length=100_000, description="`next` of the answer before: what came after")
    ] = None,
    q: Annotated[str, Query(max_length=1000, description="Only lines that contain this")] = "",
) -> Response:
    """What the workers printed: the last lines of the newest attempt, or what came since."""
    run = await parts.record.find(ref)
    query = LogQuery(worker, attempt, tail, q, ended=run.status.terminal)
    directory = RunDirectory(run_folder(run))
    if since:
        lines, cursor = await asyncio.to_thread(next_lines, directory, query, LogCursor.parse(since))
    else:
        lines, cursor = await asyncio.to_thread(last_lines, directory, query, run.attempt)
    return json_response({"lines": lines, "next": cursor.text()})


@router.get("/runs/{ref}/stream", response_class=StreamingResponse, responses={200: _STREAM, **refusals(404)})
async def stream_run(
    ref: str,
    parts: Given,
    logs: Annotated[bool, Query(description="Also what the workers print from now on")] = False,
    logs_since: Annotated[
        str | None, Query(max_length=100_000, description="`next` of GET /logs: from there on instead")
    ] = None,
    worker: Annotated[str | None, Query(max_length=100, description="Only its lines")] = None,
    q: Annotated[str, Query(max_length=1000, description="Only lines that contain this")] = "",
    since: Annotated[str | None, Query(description="As Last-Event-ID, for a first connection")] = None,
    metrics_from: Annotated[
        int, Query(ge=0, le=_LARGEST, description="The step with which `metric` begins")
    ] = 0,
    last_event_id: Annotated[str | None, Header(description="The id of the last event received")] = None,
) -> Response:
    """Follow a run, from its beginning or from where an earlier stream ended, until it is over."""
    place = Place.parse(last_event_id or since)
    run = await parts.record.find(ref)
    query = LogQuery(worker, containing=q) if logs else None
    cursor = LogCursor.parse(logs_since) if logs_since else None
    stream = RunStream(parts.record, parts.bulletin, run, place, query, cursor, metrics_from)
    return StreamingResponse(aiter(stream), headers=STREAM_HEADERS, media_type="text/event-stream")


async def _directory(run: Run) -> RunDirectory:
    directory = RunDirectory(run_folder(run))
    if not await asyncio.to_thread(directory.status_path.is_file):
        raise RunNotFound(f"run {run.name} has no run directory yet", hint="it is made when the run starts")
    return directory
