"""The live stream over all runs."""

from typing import Annotated, Final

from fastapi import APIRouter, Header
from starlette.responses import Response, StreamingResponse

from api.service.documents import PREFIX, refusals
from api.service.parts import Given

router = APIRouter(prefix=PREFIX, tags=["runs"])
_SENT: Final = {
    "type": "object",
    "description": "One server-sent event by its fields; `data` is JSON, of `run` a RunListed",
    "properties": {
        "event": {"enum": ["run", "gone", "cluster", "reset"]},
        "data": {"type": "string"},
        "id": {"type": "string"},
    },
    "required": ["event", "data", "id"],
}
_STREAM: Final = {
    "description": "Server-sent events: the newest state of each run that changes, from now on",
    "content": {"text/event-stream": {"schema": _SENT}},
}
STREAM_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@router.get("/stream", response_class=StreamingResponse, responses={200: _STREAM, **refusals()})
async def stream_all(
    parts: Given,
    last_event_id: Annotated[str | None, Header(description="Sent by a reader that comes back")] = None,
) -> Response:
    """Follow all runs. `cluster`: nodes or queues changed; `reset`: ask for the list again."""
    stream = parts.overview.stream(resumed=bool(last_event_id))
    return StreamingResponse(stream, headers=STREAM_HEADERS, media_type="text/event-stream")
