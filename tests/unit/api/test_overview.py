"""The live stream over all runs: the newest state of what changes, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from api.service import overview
from orchestrator.domain.runs import Change, Run
from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import RUNS, InProcess


class Reader:
    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        self._messages = messages
        self._waiting: list[tuple[str, Any]] = []

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(5):
            while not self._waiting:
                self._waiting = parsed(await anext(self._messages))
        return self._waiting.pop(0)


def parsed(content: bytes) -> list[tuple[str, Any]]:
    messages = []
    for block in content.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            assert fields["id"]
            messages.append((fields["event"], json.loads(fields["data"])))
    return messages


@asynccontextmanager
async def reading(service: InProcess, *, resumed: bool = False) -> AsyncIterator[Reader]:
    """Connected: what changes in the block is told."""
    async with aclosing(service.parts.overview.stream(resumed=resumed)) as messages:
        first = await anext(messages)
        assert first.startswith(b"retry: 1000\n")
        await asyncio.sleep(0)
        reader = Reader(messages)
        reader._waiting = parsed(first)
        yield reader


async def progressed(service: InProcess, name: str, step: int) -> None:
    run = await service.record.find(name)

    def decide(old: Run) -> Change:
        return Change(old.with_(phase=old.phase, outbox_seq=step))

    await service.record.change(run.id, decide)
    service.bulletin.changed(run.id)


async def test_a_run_that_changes_is_told_as_lists_show_it(service: InProcess) -> None:
    await service.submit("before")
    async with reading(service) as reader:
        await service.submit("brave-otter")
        kind, told = await reader.next()
        listed = (await service.client.get(RUNS, params={"name": "brave-otter"})).json()["runs"][0]
        assert (kind, told) == ("run", listed)
        await service.client.post(f"{RUNS}/before/pause")
        kind, told = await reader.next()
        assert (kind, told["name"], told["status"]) == ("run", "before", "PAUSED")


async def test_a_run_that_is_deleted_is_gone(service: InProcess) -> None:
    await service.submit("brave-otter")
    run = await service.moved("brave-otter", RunStatus.CANCELLED)
    async with reading(service) as reader:
        await service.client.delete(f"{RUNS}/brave-otter")
        assert await reader.next() == ("gone", {"id": run.id})


async def test_a_run_that_is_forgotten_for_its_age_is_gone(service: InProcess) -> None:
    await service.submit("brave-otter")
    run = await service.moved("brave-otter", RunStatus.CANCELLED)
    await service.round()
    async with reading(service) as reader:
        service.cluster.tick(100 * 86_400.0)
        await service.round()
        assert await reader.next() == ("gone", {"id": run.id})


async def test_nodes_and_queues_that_change_are_told_without_saying_how(service: InProcess) -> None:
    await service.reconciler.look()
    async with reading(service) as reader:
        await service.client.put("/api/v1/queues/nlp", json={"weight": 2})
        assert await reader.next() == ("cluster", {})
        node = (await service.client.get("/api/v1/cluster/nodes")).json()["nodes"][0]
        await service.client.post(f"/api/v1/cluster/nodes/{node['id']}/cordon")
        assert await reader.next() == ("cluster", {})


async def test_a_node_that_comes_is_seen_without_being_told_of(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "LOOK_EVERY_S", 0.01)
    async with reading(service) as reader:
        await service.reconciler.look()
        assert await reader.next() == ("cluster", {})


async def test_a_run_that_waits_for_something_else_now_is_told_though_it_did_not_change(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "LOOK_EVERY_S", 0.01)
    await service.reconciler.look()
    await service.submit("brave-otter", workers=8)
    async with reading(service) as reader:
        await service.reconciler.round()
        kind, told = await reader.next()
        assert (kind, told["name"], told["version"]) == ("run", "brave-otter", 1)
        assert told["wait"]["why"].startswith("can never fit")


async def test_who_comes_back_is_told_to_ask_for_the_list_again(service: InProcess) -> None:
    async with reading(service, resumed=True) as reader:
        assert await reader.next() == ("reset", {})


async def test_progress_comes_at_most_twice_a_second_and_the_newest_last(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "GATHER_S", 0.0)
    monkeypatch.setattr(overview, "PROGRESS_EVERY_S", 60.0)
    await service.submit("brave-otter")
    async with reading(service) as reader:
        await progressed(service, "brave-otter", 1)
        assert (await reader.next())[0] == "run"
        await progressed(service, "brave-otter", 2)
        waiting = asyncio.create_task(reader.next())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        # What is no progress is told at once.
        await service.client.post(f"{RUNS}/brave-otter/pause")
        assert (await waiting)[1]["status"] == "PAUSED"


async def test_progress_that_was_held_back_comes_when_it_is_due(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "PROGRESS_EVERY_S", 0.2)
    await service.submit("brave-otter")
    async with reading(service) as reader:
        for step in (1, 2):
            await progressed(service, "brave-otter", step)
            assert (await reader.next())[0] == "run"


async def test_a_slow_reader_finds_the_newest_state_once(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "GATHER_S", 0.0)
    await service.submit("brave-otter")
    async with reading(service) as slow, reading(service) as quick:
        for verb in ("pause", "resume", "cancel"):
            await service.client.post(f"{RUNS}/brave-otter/{verb}")
            await quick.next()
        assert (await slow.next())[1]["status"] == "CANCELLED"
        assert slow._waiting == []


async def test_nothing_is_read_while_nobody_listens_or_nothing_changes(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "LOOK_EVERY_S", 0.01)
    asked = []

    async def several(ids: Any) -> Any:
        asked.append(ids)
        return []

    monkeypatch.setattr(service.record, "several", several)
    await service.submit("brave-otter")
    async with reading(service):
        await asyncio.sleep(0.05)
    await service.submit("calm-owl")
    await asyncio.sleep(0.05)
    assert asked == []
    assert service.parts.overview._teller is None
    assert service.bulletin._of_all == []


async def test_a_record_that_fails_is_asked_again(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "LOOK_EVERY_S", 0.01)
    several, failures = service.record.several, iter([OSError("the disk is away")])

    async def failing(ids: Any) -> Any:
        for error in failures:
            raise error
        return await several(ids)

    monkeypatch.setattr(service.record, "several", failing)
    async with reading(service) as reader:
        await service.submit("brave-otter")
        assert (await reader.next())[1]["name"] == "brave-otter"


async def test_the_stream_ends_when_the_service_does(service: InProcess) -> None:
    async with reading(service):
        async with asyncio.timeout(5):
            answer = asyncio.create_task(service.client.get("/api/v1/stream"))
            while len(service.parts.overview._readers) < 2:
                await asyncio.sleep(0.01)
            service.bulletin.close()
            assert (await answer).headers["Content-Type"].startswith("text/event-stream")


async def test_a_silent_stream_shows_that_it_lives(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "HEARTBEAT_S", 0.01)
    async with aclosing(service.parts.overview.stream(resumed=False)) as it:
        await anext(it)
        assert (await anext(it)).startswith(b":")
