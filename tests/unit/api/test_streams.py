"""The live stream: everything once, in order, and taken up where it was left."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from api.service import streams
from api.service.logs import LogCursor, LogQuery
from api.service.streams import Place, RunStream
from orchestrator.domain.events import EventKind, event
from orchestrator.domain.runs import Change
from orchestrator.domain.status import RunStatus
from tests.unit.api.in_process import RUNS, InProcess
from tests.unit.recorded_run import RecordedRun, finished_run

OTTER = f"{RUNS}/brave-otter"


class Message(NamedTuple):
    kind: str
    data: Any
    id: str


def parsed(text: str) -> list[Message]:
    messages = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            messages.append(Message(fields["event"], json.loads(fields["data"]), fields["id"]))
    return messages


@pytest.fixture
async def ended(service: InProcess) -> InProcess:
    await service.submit("brave-otter")
    finished_run(service.storage)
    await service.moved("brave-otter", RunStatus.SUCCEEDED, attempt=1)
    return service


async def streamed(service: InProcess, last_id: str = "", **query: Any) -> list[Message]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    answer = await service.client.get(f"{OTTER}/stream", headers=headers, params=query)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    return parsed(answer.text)


def steps_of(messages: list[Message]) -> list[int]:
    points = [point for one in messages if one.kind == "metric" for point in one.data["points"]]
    return [point["step"] for point in points if "kind" not in point]


def seqs_of(messages: list[Message]) -> list[int]:
    return [one.data["seq"] for one in messages if one.kind == "event"]


async def test_the_stream_of_a_run_that_is_over_tells_all_of_it_and_ends(ended: InProcess) -> None:
    messages = await streamed(ended)
    assert messages[0].kind == "status"
    assert "spec" not in messages[0].data
    assert seqs_of(messages) == [1, 2, 3, 4]
    assert steps_of(messages) == list(range(1, 9))
    assert messages[-1].kind == "end"
    assert messages[-1].data["status"] == "SUCCEEDED"


async def test_a_reader_that_comes_back_misses_nothing_and_gets_nothing_twice(
    ended: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_PAGE", 3)
    everything = await streamed(ended)
    for index, message in enumerate(everything):
        rest = await streamed(ended, last_id=message.id)
        assert seqs_of(everything[: index + 1]) + seqs_of(rest) == [1, 2, 3, 4]
        assert steps_of(everything[: index + 1]) + steps_of(rest) == list(range(1, 9))


async def test_the_place_can_be_given_as_a_parameter_too(ended: InProcess) -> None:
    assert seqs_of(await streamed(ended, since="3.0")) == [4]


@pytest.mark.parametrize(("first", "sent"), [(0, 1), (1, 1), (6, 6), (8, 8), (9, None)])
async def test_who_has_the_metrics_before_a_step_gets_it_and_those_that_follow(
    ended: InProcess, monkeypatch: pytest.MonkeyPatch, first: int, sent: int | None
) -> None:
    monkeypatch.setattr(streams, "_PAGE", 2)
    messages = await streamed(ended, metrics_from=first)
    assert steps_of(messages) == ([] if sent is None else list(range(sent, 9)))
    assert seqs_of(messages) == [1, 2, 3, 4], "events are sent all the same"


async def test_what_a_rewind_brings_back_is_sent_whatever_the_reader_had(service: InProcess) -> None:
    await service.submit("brave-otter")
    await service.moved("brave-otter", RunStatus.RUNNING, attempt=1)
    recorded = RecordedRun(service.storage)
    recorded.formed(1, "w1")
    recorded.steps(1, 5)
    reader = await reader_of(service, metrics_from=5)
    assert [point["step"] for point in (await reader.until("metric")).data["points"]] == [5]
    recorded.formed(2, "w1", step=2)
    recorded.steps(3, 3)
    last = await reader.until("metric")
    assert [(point["step"], point.get("kind")) for point in last.data["points"]] == [(2, "rewind"), (3, None)]
    again = await reader_of(service, metrics_from=5, place=Place.parse(last.id))
    recorded.steps(4, 4)
    assert [point["step"] for point in (await again.until("metric")).data["points"]] == [4]


@pytest.mark.parametrize("place", ["x", "1", "1.2.3", "-1.0", "1." + "9" * 30])
async def test_a_place_that_is_none_is_refused(ended: InProcess, place: str) -> None:
    answer = await ended.client.get(f"{OTTER}/stream", headers={"Last-Event-ID": place})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-cursor")


async def test_the_stream_of_an_unknown_run_is_not_found(service: InProcess) -> None:
    assert (await service.client.get(f"{RUNS}/nobody/stream")).status_code == 404


class Reader:
    """Takes messages one at a time, as a client does."""

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        self._messages = messages

    async def next(self) -> Message:
        async with asyncio.timeout(5):
            return parsed((await anext(self._messages)).decode())[0]

    async def until(self, kind: str) -> Message:
        while (message := await self.next()).kind != kind:
            pass
        return message


async def reader_of(service: InProcess, **options: Any) -> Reader:
    run = await service.record.find("brave-otter")
    stream = RunStream(service.record, service.bulletin, run, options.pop("place", Place()), **options)
    return Reader(aiter(stream))


async def test_a_change_is_told_as_soon_as_it_is_on_record(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK_SELDOM_S", 60.0)
    await service.submit("brave-otter")
    reader = await reader_of(service)
    assert (await reader.next()).data["status"] == "QUEUED"
    assert (await reader.next()).data["kind"] == "run-submitted"
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0)
    await service.client.post(f"{OTTER}/pause")
    message = await waiting
    assert (message.kind, message.data["status"]) == ("status", "PAUSED")


async def test_points_come_while_they_are_written(service: InProcess) -> None:
    await service.submit("brave-otter")
    await service.moved("brave-otter", RunStatus.RUNNING, attempt=1)
    recorded = RecordedRun(service.storage)
    recorded.formed(1, "w1", "w2")
    reader = await reader_of(service)
    recorded.steps(1, 2)
    first = await reader.until("metric")
    assert [point["step"] for point in first.data["points"]] == [1, 2]
    recorded.steps(3, 3)
    second = await reader.until("metric")
    assert [point["step"] for point in second.data["points"]] == [3]
    assert second.id.endswith(".3")


async def test_a_worker_is_told_when_its_state_changes(service: InProcess) -> None:
    await service.submit("brave-otter")
    run = await service.moved("brave-otter", RunStatus.RUNNING, attempt=1)
    reader = await reader_of(service)
    lost = event(EventKind.WORKER_LOST, "lost", attempt=1, worker="w1")
    await service.record.change(run.id, lambda old: Change(old, events=(lost,)))
    message = await reader.until("worker")
    assert (message.data["worker"], message.data["state"]) == ("w1", "lost")


async def test_what_is_printed_comes_where_it_is_asked_for(service: InProcess) -> None:
    await service.submit("brave-otter")
    await service.moved("brave-otter", RunStatus.RUNNING, attempt=1)
    path = RecordedRun(service.storage).run.logs / "1-w1.log"
    path.write_text("before\n")
    reader = await reader_of(service, logs=LogQuery())
    await reader.until("status")
    with path.open("a") as file:
        file.write("after\n")
    # What was there before is for GET /logs.
    assert (await reader.until("log")).data["lines"] == [{"worker": "w1", "attempt": 1, "text": "after"}]


async def test_what_is_printed_goes_on_where_another_answer_ended(service: InProcess) -> None:
    await service.submit("brave-otter")
    await service.moved("brave-otter", RunStatus.RUNNING, attempt=1)
    path = RecordedRun(service.storage).run.logs / "1-w1.log"
    path.write_text("one\n")
    (path.parent / "1-w2.log").write_text("of another\n")
    first = (await service.client.get(f"{OTTER}/logs", params={"worker": "w1"})).json()
    texts = [line["text"] for line in first["lines"]]
    for more in ("two here\nnoise\n", "three here\n"):
        with path.open("a") as file:
            file.write(more)
        cursor = LogCursor.parse(first["next"])
        reader = await reader_of(service, logs=LogQuery("w1", containing="here"), log_cursor=cursor)
        first = (await reader.until("log")).data
        texts += [line["text"] for line in first["lines"]]
    assert texts == ["one", "two here", "three here"]


async def test_the_last_line_comes_before_the_end_though_it_has_no_newline(ended: InProcess) -> None:
    logs = ended.storage / "brave-otter" / "logs"
    (logs / "1-w1.log").write_text("one\ntwo")
    (logs / "1-w2.log").write_text("of another")
    *_, log, end = await streamed(ended, logs="true", logs_since=LogCursor(1).text(), worker="w1", q="t")
    assert [line["text"] for line in log.data["lines"]] == ["two"]
    assert end.kind == "end"
    refused = await ended.client.get(f"{OTTER}/stream", params={"logs": "true", "logs_since": "nonsense"})
    assert refused.json()["code"] == "bad-cursor"


async def test_a_run_that_is_deleted_ends_its_streams(service: InProcess) -> None:
    await service.submit("brave-otter")
    run = await service.moved("brave-otter", RunStatus.CANCELLED)
    stream = RunStream(service.record, service.bulletin, run, Place())
    await service.client.delete(OTTER)
    assert (await Reader(aiter(stream)).until("end")).data["deleted"] is True


async def test_a_broken_journal_is_told_once_and_the_rest_goes_on(ended: InProcess) -> None:
    path = next((ended.storage / "brave-otter" / "outbox").glob("metrics-*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"loss":4.5', b'"loss":9.5'))
    messages = await streamed(ended)
    assert [one.kind for one in messages].count("trouble") == 1
    assert seqs_of(messages) == [1, 2, 3, 4]
    assert messages[-1].kind == "end"


async def test_streams_end_when_the_service_does_so_that_readers_come_back(service: InProcess) -> None:
    await service.submit("brave-otter")
    run = await service.record.find("brave-otter")
    messages = aiter(RunStream(service.record, service.bulletin, run, Place()))
    await anext(messages)
    service.bulletin.close()
    rest = [parsed(message.decode())[0].kind async for message in messages]
    assert "end" not in rest


async def test_a_silent_stream_shows_that_it_lives(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr(streams, "LOOK_SELDOM_S", 0.001)
    await service.submit("brave-otter")
    run = await service.record.find("brave-otter")
    messages = aiter(RunStream(service.record, service.bulletin, run, Place()))
    async with asyncio.timeout(5):
        while not (await anext(messages)).startswith(b":"):
            pass


async def test_a_reader_that_left_is_forgotten(service: InProcess) -> None:
    with service.bulletin.reader("abc") as news:
        service.bulletin.changed("abc")
        assert news.is_set()
    assert service.bulletin._readers == {}
