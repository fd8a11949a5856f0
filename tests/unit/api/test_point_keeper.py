"""Points are read before anybody asks, and nothing is kept of runs that are gone."""

import asyncio

import pytest

from api.service import point_index, point_keeper
from api.service.point_keeper import keep_points
from orchestrator.domain.runs import Change
from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import RUNS, InProcess
from tests.unit.recorded_run import RecordedRun, finished_run


@pytest.fixture
async def otter(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """A run that trains, long enough for files."""
    monkeypatch.setattr(point_index, "MOST_IN_MEMORY", 2)
    monkeypatch.setattr(point_keeper, "_EVERY_S", 0.01)
    await service.submit("brave-otter")
    await service.moved("brave-otter", RunStatus.RUNNING, attempt=1)
    return service


async def kept_are(service: InProcess, *names: str) -> None:
    wanted = {(await service.record.find(name)).id for name in names}
    async with asyncio.timeout(5):
        while set(service.parts.points.kept()) != wanted:
            await asyncio.sleep(0.01)


async def test_runs_that_train_are_followed(otter: InProcess) -> None:
    task = asyncio.create_task(keep_points(otter.record, otter.parts.points))
    await asyncio.sleep(0.05)
    recorded = RecordedRun(otter.storage)
    recorded.formed(1, "w1")
    recorded.steps(1, 4)
    await kept_are(otter, "brave-otter")
    task.cancel()


async def test_at_the_start_the_newest_runs_are_read_and_what_is_of_none_is_removed(otter: InProcess) -> None:
    finished_run(otter.storage)
    run = await otter.record.find("brave-otter")
    await otter.record.change(run.id, lambda old: Change(old.with_(status=RunStatus.SUCCEEDED)))
    (otter.folder / "points" / "of-a-run-that-was-pruned").mkdir()
    task = asyncio.create_task(keep_points(otter.record, otter.parts.points))
    await kept_are(otter, "brave-otter")
    await otter.client.delete(f"{RUNS}/brave-otter")
    await kept_are(otter)
    task.cancel()
