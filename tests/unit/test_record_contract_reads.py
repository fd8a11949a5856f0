"""What every record keeps to: several runs at once, and events of some kinds."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.domain.runs import Change
from orchestrator.ports.record import Record
from tests.unit.records import KINDS, happened, new, opened


@pytest.fixture(params=KINDS)
async def record(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Record]:
    async with opened(request.param, tmp_path) as record:
        yield record


async def test_events_may_be_read_of_some_kinds_only(record: Record) -> None:
    await record.add(new(1))
    odd = {**happened("lost"), "kind": "worker-lost"}
    await record.change("r0001", lambda run: Change(run, events=(odd, happened("x"), odd)))
    found = await record.events("r0001", kinds=["worker-lost"])
    assert [event.seq for event in found] == [2, 4]
    assert [event.seq for event in await record.events("r0001", after=2, kinds=["worker-lost"])] == [4]
    assert len(await record.events("r0001", kinds=["worker-lost", "run-started"], limit=3)) == 3


async def test_several_runs_are_read_at_once_and_those_that_are_gone_are_left_out(record: Record) -> None:
    for number in (1, 2, 3):
        await record.add(new(number))
    assert {run.id for run in await record.several(["r0003", "r0001", "r0009"])} == {"r0001", "r0003"}
    assert list(await record.several([])) == []
