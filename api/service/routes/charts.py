"""What is drawn of runs: curves, small and large, and the lives of workers."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.service.answers import Number
from api.service.chart_answers import Sparklines, TimelineShown
from api.service.documents import PREFIX, returns
from api.service.parts import Given, Parts
from api.service.points_asked import Aggregate, Asked
from api.service.representations import generation_dict, json_response, run_folder
from api.service.timelines import timeline_of
from orchestrator.domain.errors import StorageError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.runs import Run

router = APIRouter(prefix=PREFIX, tags=["charts"])
_LARGEST: Final = 2**53
_MOST_RUNS: Final = 100
Columns = dict[str, list[Number | None]]
_COLUMNS: Final = "Columns of equal length; with the header `Tumbler-Sampled: true` they are of a sample"


@router.get("/runs/{ref}/metrics", **returns(200, Columns, 404, description=_COLUMNS))
async def read_metrics(
    ref: str,
    parts: Given,
    keys: Annotated[str | None, Query(description="Separated by commas; all of them by default")] = None,
    from_step: Annotated[int, Query(ge=0, le=_LARGEST)] = 0,
    to_step: Annotated[int | None, Query(ge=0, le=_LARGEST, description="The last one that comes")] = None,
    max_points: Annotated[int, Query(ge=1, le=100_000)] = 1000,
    agg: Annotated[Aggregate, Query(description="How neighbours become one")] = Aggregate.LAST,
    sample: Annotated[bool, Query(description="At once, though a long run was not read yet")] = False,
) -> Response:
    """The metrics by step, at most `max_points` of them."""
    run = await parts.record.find(ref)
    names = tuple(name.strip() for name in (keys or "").split(",") if name.strip())
    asked = Asked(names, from_step, to_step, max_points, agg)
    return await _threaded(parts, lambda: _curves(parts, run, asked, sample))


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
    """One small curve of each run. Ids that are unknown are left out; without points the curve is empty.

    Of a long run that nobody looked at it is of a sample of its points."""
    found = await parts.record.several(runs)
    asked = Asked((key,), max_points=max_points)
    return await _threaded(parts, lambda: _sparklines(parts, found, asked))


def _curves(parts: Parts, run: Run, asked: Asked, sample: bool) -> Response:
    directory = RunDirectory(run_folder(run))
    sampled = parts.points.sample(run.id, directory, asked) if sample else None
    if sampled is None:
        return json_response(parts.points.curves(run.id, directory, asked))
    parts.points.read_ahead(run.id, directory)
    return json_response(sampled, headers={"Tumbler-Sampled": "true"})


def _sparklines(parts: Parts, runs: Sequence[Run], asked: Asked) -> Response:
    found = {}
    for run in runs:
        directory = RunDirectory(run_folder(run))
        try:
            sampled = parts.points.sample(run.id, directory, asked)
            found[run.id] = sampled or parts.points.curves(run.id, directory, asked)
        except StorageError:  # what is wrong with it, its own page tells
            found[run.id] = {"step": [], **{key: [] for key in asked.keys}}
    return json_response({"runs": found})


async def _threaded(parts: Parts, answer: Callable[[], Response]) -> Response:
    return await asyncio.get_running_loop().run_in_executor(parts.points.threads, answer)
