"""What steers a run: scale, checkpoint, pause, resume, cancel, retry, clone. Said twice, a verb changes
nothing."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from api.service.answers import RunDetail
from api.service.documents import PREFIX, returns
from api.service.door import check_clone, check_retry
from api.service.parts import Given
from api.service.representations import run_response
from api.service.routes.runs import WorkerCount, WorkersAsked
from orchestrator.domain.runs import Run
from orchestrator.services.runs import Workers

router = APIRouter(prefix=PREFIX, tags=["steering"])
_ACCEPTED: Final = returns(202, RunDetail, 404, 409, 507, description="The run as it is now")
_WITH_BODY: Final = returns(202, RunDetail, 404, 409, 413, 415, 507, description="The run as it is now")


def _plain(value: Any) -> Any:
    """JSON may escape half a character, which no file can hold."""
    to_json(value)
    return value


class Scale(BaseModel):
    """`{"workers": 3}`, or a range."""

    model_config = ConfigDict(extra="forbid")

    workers: WorkerCount | None = None
    """At most so many; the minimum follows where it is above."""
    min: int | None = Field(None, ge=1, le=1_000_000)
    max: int | None = Field(None, ge=1, le=1_000_000)


class Clone(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=200)
    """Made up where it is left out."""
    overrides: Annotated[dict[str, Any], AfterValidator(_plain)] = Field(default_factory=dict)
    """Dotted field of the spec -> value, such as `{"train.steps": 50}`."""


@router.post("/runs/{ref}/scale", **_WITH_BODY)
async def scale_run(ref: str, wish: Scale, parts: Given) -> Response:
    """Set between how many workers the run trains. It shrinks at once and grows when there is room."""
    asked = wish.workers if wish.workers is not None else WorkersAsked(min=wish.min, max=wish.max)
    workers = asked if isinstance(asked, int) else Workers(asked.min, asked.max)
    return run_response(await parts.runs.scale(ref, workers), 202)


@router.post("/runs/{ref}/checkpoint", **_ACCEPTED)
async def take_checkpoint(ref: str, parts: Given) -> Response:
    """Take a checkpoint at the next step; the event that tells of it has the `wish` of
    `checkpoint-requested`."""
    return run_response(await parts.runs.take_checkpoint(ref), 202)


@router.post("/runs/{ref}/pause", **_ACCEPTED)
async def pause_run(ref: str, parts: Given) -> Response:
    """Take a last checkpoint and give the workers back; `resume` goes on from there."""
    return run_response(await parts.runs.pause(ref), 202)


@router.post("/runs/{ref}/resume", **_ACCEPTED)
async def resume_run(ref: str, parts: Given) -> Response:
    """Queue a paused run again."""
    return run_response(await parts.runs.resume(ref), 202)


@router.post("/runs/{ref}/cancel", **_ACCEPTED)
async def cancel_run(ref: str, parts: Given) -> Response:
    """Take a last checkpoint and end the run."""
    return run_response(await parts.runs.cancel(ref), 202)


@router.post("/runs/{ref}/retry", **_ACCEPTED)
async def retry_run(ref: str, parts: Given) -> Response:
    """Submit a run that FAILED or was CANCELLED again, as a new run."""
    return _new(await parts.runs.retry(ref, check_retry))


@router.post("/runs/{ref}/clone", **_WITH_BODY)
async def clone_run(ref: str, parts: Given, wish: Clone | None = None) -> Response:
    """Submit the spec of a run again under a new name, perhaps with other values."""
    asked = wish or Clone()
    spec_json = (await parts.record.find(ref)).spec_json
    overrides = await asyncio.to_thread(check_clone, spec_json, asked.overrides, asked.name)
    return _new(await parts.runs.clone(ref, name=asked.name, overrides=overrides))


def _new(run: Run) -> Response:
    return run_response(run, 202, headers={"Location": f"/api/v1/runs/{run.id}"})
