"""What is drawn of runs: curves, small and large, and the lives of workers."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.service.answers import Number
from api.service.chart_answers import Sparklines, TimelineShown
from api.service.documents import PREFIX, returns
from api.service.parts import Given, Parts
from api.service.points import Aggregate, columns
from api.service.representations import generation_dict, json_response, run_folder
from api.service.timelines import timeline_of
from orchestrator.domain.errors import RunNotFound, StorageError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.runs import Run

router = APIRouter(prefix=PREFIX, tags=["charts"])
_LARGEST: Final = 2**53
_MOST_RUNS: Final = 100
Columns = dict[str, list[Number | None]]


@router.get("/runs/{ref}/metrics", **returns(200, Columns, 404, description="Columns of equal length"))
async def read_metrics(
    ref: str,
    parts: Given,
    keys: Annotated[str | None, Query(description="Separated by commas; all of them by default")] = None,
    from_step: Annotated[int, Query(ge=0, le=_LARGEST)] = 0,
    to_step: Annotated[int | None, Query(ge=0, le=_LARGEST, description="The last one that comes")] = None,
    max_points: Annotated[int, Query(ge=1, le=100_000)] = 1000,
    agg: Annotated[Aggregate, Query(description="How neighbours become one")] = Aggregate.LAST,
) -> Response:
    """The metrics by step, at most `max_points` of them."""
    run = await parts.record.find(ref)
    names = [name.strip() for name in (keys or "").split(",") if name.strip()]

    def answer() -> Response:
        points = parts.points.points(RunDirectory(run_folder(run)))
        found = columns(
            points, names, from_step=from_step, to_step=to_step, max_points=max_points, aggregate=agg
        )
        return json_response(found)

    return await asyncio.to_thread(answer)


@router.get("/runs/{ref}/timeline", **returns(200, TimelineShown, 404))
async def read_timeline(ref: str, parts: Given) -> Response:
    """When each worker came and went, and why; the generations; what went wrong."""
    run = await parts.record.find(ref)
    timeline = await timeline_of(parts.record, run.id)
    rows = await parts.record.generations(run.id)
    return json_response(
        {
            "workers": [dict(vars(life)) for life in timeline.lives.values()],
            "generations": [generation_dict(row) for row in rows],
            "incidents": timeline.incidents,
        }
    )


@router.get("/sparklines", **returns(200, Sparklines))
async def read_sparklines(
    parts: Given,
    runs: Annotated[
        list[str],
        Query(default_factory=list, max_length=_MOST_RUNS, description="Ids; may be repeated"),
    ],
    key: Annotated[str, Query(min_length=1, max_length=200)] = "loss",
    max_points: Annotated[int, Query(ge=1, le=1000)] = 40,
) -> Response:
    """One small curve of each run. Ids that are unknown are left out; without points the curve is empty."""
    found = await parts.record.several(runs)
    return await asyncio.to_thread(_sparklines, parts, found, key, max_points)


def _sparklines(parts: Parts, runs: Sequence[Run], key: str, max_points: int) -> Response:
    curves: dict[str, dict[str, list[Any]]] = {}
    for run in runs:
        try:
            points = parts.points.points(RunDirectory(run_folder(run)))
        except (RunNotFound, StorageError):
            points = []  # what is wrong with it, its own page tells
        curves[run.id] = columns(points, [key], max_points=max_points, aggregate=Aggregate.LAST)
    return json_response({"runs": curves})
