"""Reads the points of runs in the background, so that no page waits for a journal of a million lines."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from api.service.points import PointCache
from api.service.representations import run_folder
from orchestrator.domain.errors import StorageError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.runs import Run
from orchestrator.ports.record import Record, RunQuery

_EVERY_S: Final = 5.0
_FIRST_PAGE: Final = 100
_AT_ONCE: Final = 500
_log = structlog.get_logger()


async def keep_points(record: Record, points: PointCache) -> None:
    """Until cancelled: at first the runs that a list shows first, then again and again those that train."""
    with suppress(StorageError):
        await _sweep(record, points)
        await _follow(points, (await record.page(RunQuery(limit=_FIRST_PAGE))).runs)
    while True:
        with suppress(StorageError):
            await _follow(points, await record.active())
        await asyncio.sleep(_EVERY_S)


async def _follow(points: PointCache, runs: Sequence[Run]) -> None:
    for run in runs:
        try:
            await asyncio.to_thread(points.follow, run.id, RunDirectory(run_folder(run)))
        except Exception:
            _log.exception("the points of a run could not be read ahead", run_id=run.id)


async def _sweep(record: Record, points: PointCache) -> None:
    """What is kept of runs that were forgotten."""
    kept = await asyncio.to_thread(points.kept)
    for ids in (kept[start : start + _AT_ONCE] for start in range(0, len(kept), _AT_ONCE)):
        known = {run.id for run in await record.several(ids)}
        for run_id in set(ids) - known:
            await asyncio.to_thread(points.forget, run_id)
