import asyncio
from typing import Any

import pytest

from benchmarks.control_plane import FULL, Census, Memory, Scale, bars_of, count, figures_of_load
from benchmarks.control_plane_events import Delays, live_delays_ms
from benchmarks.event_stream import Arrival, EventParser
from benchmarks.offered_load import (
    LOST,
    AnswerReader,
    Connection,
    Generator,
    Load,
    Outcome,
    name_of,
    request_of,
)

SCALE = Scale(num_queued=10_000, rate=2.0, load_s=2.0, num_cancels=1)


def load(**changes: Any) -> Load:
    fields: dict[str, Any] = {"num_submits": 3, "rate": 1000.0, "num_connections": 2}
    return Load("127.0.0.1", 8700, "offered", {"task": "language_model"}, **fields | changes)


def outcome(*latencies_s: float) -> Outcome:
    names = [f"offered-{number}" for number in range(len(latencies_s))]
    return Outcome(latencies_s, [0.001] * len(names), {"201": len(names)}, names, elapsed_s=2.0, cpu_s=0.1)


def test_each_bar_of_the_control_plane_can_be_missed() -> None:
    good: dict[str, Any] = {
        "offered": outcome(0.01, 0.02, 0.01, 0.02),
        "census": Census(listed=4, lost=0, doubled=0),
        "memory": Memory(80.0, 99.0, 300.0),
        "pages_ms": [50.0, 90.0],
        "delays": [Delays("cancel", [10.0]), Delays("run", [300.0])],
    }
    bad = {
        "census": Census(listed=5, lost=0, doubled=1),
        "memory": Memory(80.0, 101.0, 300.0),
        "pages_ms": [50.0, 150.0],
        "delays": [Delays("cancel", [10.0]), Delays("run", [300.0, 501.0])],
    }
    assert all(bar.ok for bar in bars_of(SCALE, **good))
    for name, value in {**bad, "census": Census(3, 1, 0), "offered": outcome(0.01, 0.01, 0.02)}.items():
        assert sum(not bar.ok for bar in bars_of(SCALE, **{**good, name: value})) == 1
    assert not bars_of(SCALE, **{**good, "offered": outcome(0.01, 0.01, 0.01, 0.2)})[2].ok


def test_the_full_benchmark_offers_what_its_bars_speak_of() -> None:
    assert (FULL.num_queued, FULL.rate, FULL.load_s) == (10_000, 1000.0, 30.0)


def test_an_acknowledged_run_that_is_not_listed_is_lost_and_one_listed_twice_is_doubled() -> None:
    assert count(["a"], ["b", "c"], ["c", "a", "b", "warm-up"]) == Census(listed=4, lost=0, doubled=0)
    assert count(["a"], ["b", "c"], ["a", "c", "c"]) == Census(listed=3, lost=1, doubled=1)


def test_the_figures_of_a_load_count_what_was_acknowledged() -> None:
    figures = figures_of_load(SCALE, outcome(0.01, 0.03))
    assert (figures["acknowledged"], figures["acknowledged_per_s"]) == (2, 1.0)
    assert figures["submit_p50_ms"] == pytest.approx(20.0)
    assert figures["submit_max_ms"] == pytest.approx(30.0)


def test_every_submit_has_a_name_and_a_key_of_its_own() -> None:
    requests = {request_of(load(), number) for number in range(3)}
    assert len(requests) == 3
    head, _, body = request_of(load(), 1).partition(b"\r\n\r\n")
    assert b"Idempotency-Key: offered-000001" in head
    assert body == b'{"name":"offered-000001","task":"language_model"}'
    assert f"Content-Length: {len(body)}".encode() in head


def test_an_answer_is_read_however_it_is_cut() -> None:
    answer = b"HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    for cut in range(1, len(answer)):
        reader = AnswerReader()
        assert reader.feed(answer[:cut]) is None
        assert reader.feed(answer[cut:]) == 201
    with pytest.raises(ValueError, match="Content-Length"):
        AnswerReader().feed(b"HTTP/1.1 200 OK\r\n\r\n")


class Wire(asyncio.Transport):
    """Keeps what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing


class WiredGenerator(Generator):
    """One whose connections lead to wires, and whose clock goes on while it sleeps."""

    def __init__(self, load: Load) -> None:
        super().__init__(load, clock=lambda: self.now, sleep=self.pass_time)
        self.now = 100.0
        self.connections: list[Connection] = []

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds

    async def _connect(self) -> Connection:
        connection = Connection(self._answered)
        connection.connection_made(Wire())
        self.connections.append(connection)
        return connection

    def answer(self, number: int, status: int) -> None:
        self.connections[number].data_received(b"HTTP/1.1 %d OK\r\ncontent-length: 0\r\n\r\n" % status)


async def test_what_is_due_while_all_connections_are_taken_waits_and_its_latency_grows() -> None:
    generator = WiredGenerator(load(rate=1.0))
    for _ in range(2):
        generator._idle.append(await generator._connect())
    await generator._pace(begun=100.0)
    wires = [connection.transport for connection in generator.connections]
    assert [len(wire.sent) for wire in wires if isinstance(wire, Wire)] == [1, 1]
    generator.now = 110.0
    generator.answer(0, 201)
    generator.now = 111.0
    generator.answer(0, 201)
    generator.connections[1].connection_lost(None)
    assert generator._latencies_s == [10.0, 9.0]
    assert generator._lags_s == [0.0, 0.0, 8.0]
    assert generator._acknowledged == [name_of(load(), 0), name_of(load(), 2)]
    assert generator._statuses == {201: 2, LOST: 1}


async def test_a_refused_submit_is_counted_and_not_acknowledged() -> None:
    generator = WiredGenerator(load(num_submits=1))
    generator._idle.append(await generator._connect())
    await generator._pace(begun=0.0)
    generator.answer(0, 503)
    assert generator._statuses == {503: 1}
    assert generator._acknowledged == []


async def test_a_connection_that_the_service_closed_is_not_used_again() -> None:
    generator = WiredGenerator(load())
    for _ in range(2):
        generator._idle.append(await generator._connect())
    closed, living = (connection.transport for connection in generator.connections)
    assert isinstance(closed, Wire)
    assert isinstance(living, Wire)
    closed.closing = True
    generator._due.append(0)
    generator._send()
    assert (len(closed.sent), len(living.sent)) == (0, 1)


def events(*lines: str) -> list[tuple[str, str, str]]:
    parser = EventParser()
    return [event for line in lines if (event := parser.feed(line))]


def test_events_are_parsed_and_comments_left_out() -> None:
    assert events(": heartbeat", "", "event: status", "id: 3.7", 'data: {"a":', "data: 1}", "") == [
        ("status", "3.7", '{"a":\n1}')
    ]
    assert events("data: 1", "", "data: 2", "") == [("message", "", "1"), ("message", "", "2")]
    assert events("data: cut off") == []


def arrival(kind: str, happened: str, time: str, unix_s: float) -> Arrival:
    return Arrival(kind, "1.1", {"kind": happened, "time": time}, 0.0, unix_s)


def test_only_what_the_training_process_noted_while_the_stream_was_open_has_a_delay() -> None:
    arrivals = [
        arrival("event", "checkpoint-committed", "1970-01-01T00:00:01.000Z", 10.0),
        arrival("event", "checkpoint-committed", "1970-01-01T00:00:09.500Z", 9.6),
        arrival("event", "status-moved", "1970-01-01T00:00:09.500Z", 9.8),
        arrival("status", "checkpoint-committed", "1970-01-01T00:00:09.500Z", 9.9),
    ]
    assert live_delays_ms(arrivals, opened=9.0) == pytest.approx([100.0])
