"""Submits at a fixed rate, whatever the service does: `python -m benchmarks.offered_load LOAD_AS_JSON`.

An open loop: submit n is due at start + n / rate, and its latency counts from then on, not from when it was
sent, so that a service that stalls pays for every submit that was due meanwhile (Tene, "How not to measure
latency", on coordinated omission). A process of its own, with bodies made beforehand, so that it takes little
from the service's processor. Prints one JSON object, an Outcome.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.peers.processes import ROOT, python_module

LOST = 0
"""As a status: the connection ended without an answer."""
HEAD_START_S = 0.2
PATIENCE_S = 120.0
"""For the last answers, after the last submit was due; what has none by then counts as not acknowledged."""


@dataclass(frozen=True)
class Load:
    """What is submitted and when. Run n is called `PREFIX-n` and has that as its Idempotency-Key too."""

    host: str
    port: int
    prefix: str
    spec: Mapping[str, Any]
    """Without a name."""
    num_submits: int
    rate: float | None
    """Submits a second; None for as fast as the connections allow."""
    num_connections: int = 64
    """Each has at most one request under way; what is due meanwhile waits, and its latency grows."""


@dataclass(frozen=True)
class Outcome:
    latencies_s: Sequence[float]
    """From when a submit was due to its answer, of those that were acknowledged, in order of the answers."""
    lags_s: Sequence[float]
    """From when a submit was due until it was sent: the generator's own share, and waits for a connection."""
    statuses: Mapping[str, int]
    """HTTP status -> how many; `0` for a connection that ended without an answer."""
    acknowledged: Sequence[str]
    """Names."""
    elapsed_s: float
    cpu_s: float
    """Of the generator."""


def offer(load: Load) -> Outcome:
    """Runs the generator in a process of its own."""
    ended = subprocess.run(
        python_module("benchmarks.offered_load", json.dumps(asdict(load))),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return Outcome(**json.loads(ended.stdout))


def name_of(load: Load, number: int) -> str:
    return f"{load.prefix}-{number:06d}"


def request_of(load: Load, number: int) -> bytes:
    """The submit as it goes over the wire."""
    name = name_of(load, number)
    body = json.dumps({"name": name, **load.spec}, separators=(",", ":")).encode()
    return (
        f"POST /api/v1/runs HTTP/1.1\r\nHost: {load.host}:{load.port}\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: {name}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class AnswerReader:
    """Puts one answer together from what arrives; knows as much of HTTP as answers with a length need."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> int | None:
        """The status, once the whole answer is there. Raises ValueError for one without Content-Length."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return None
        self._buffer = b""
        return int(head[9:12])


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    if not found:
        raise ValueError(f"expected an answer with Content-Length, got {head!r}")
    return int(rest.partition(b"\r\n")[0])


class Connection(asyncio.Protocol):
    """A keep-alive connection with at most one submit under way."""

    def __init__(self, on_answer: Callable[["Connection", int, int], None]) -> None:
        self._on_answer = on_answer
        self._reader = AnswerReader()
        self._number: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    @property
    def open(self) -> bool:
        return not self.transport.is_closing()

    def send(self, number: int, request: bytes) -> None:
        self._number = number
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        status = self._reader.feed(data)
        if status is not None:
            self._settle(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._number is not None:
            self._settle(LOST)

    def _settle(self, status: int) -> None:
        number, self._number = self._number, None
        assert number is not None
        self._on_answer(self, number, status)


class Generator:
    """One load, from the first submit to the last answer."""

    def __init__(
        self,
        load: Load,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._load = load
        self._clock, self._sleep = clock, sleep
        self._requests = [request_of(load, number) for number in range(load.num_submits)]
        self._due: deque[int] = deque()
        self._idle: deque[Connection] = deque()
        self._due_s: list[float] = [0.0] * load.num_submits
        self._lags_s: list[float] = []
        self._latencies_s: list[float] = []
        self._statuses: Counter[int] = Counter()
        self._acknowledged: list[str] = []
        self._all_answered = asyncio.Event()

    async def run(self) -> Outcome:
        for _ in range(self._load.num_connections):
            self._idle.append(await self._connect())
        gc.collect()
        gc.disable()  # a pause of ours would count as latency of theirs
        begun = self._clock() + HEAD_START_S
        await self._pace(begun)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_answered.wait(), PATIENCE_S)
        return Outcome(
            self._latencies_s,
            self._lags_s,
            {str(status): count for status, count in self._statuses.items()},
            self._acknowledged,
            elapsed_s=self._clock() - begun,
            cpu_s=time.process_time(),
        )

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._answered), self._load.host, self._load.port
        )
        return connection

    async def _pace(self, begun: float) -> None:
        interval = 0.0 if self._load.rate is None else 1 / self._load.rate
        for number in range(self._load.num_submits):
            self._due_s[number] = begun + number * interval
            wait = self._due_s[number] - self._clock()
            if wait > 0:
                await self._sleep(wait)
            self._due.append(number)
            self._send()

    def _send(self) -> None:
        # The connection that rested longest goes first: the service closes those that rest for seconds.
        while self._due and self._idle:
            connection = self._idle.popleft()
            if not connection.open:
                continue
            number = self._due.popleft()
            self._lags_s.append(self._clock() - self._due_s[number])
            connection.send(number, self._requests[number])

    def _answered(self, connection: Connection, number: int, status: int) -> None:
        self._statuses[status] += 1
        if status in (200, 201):
            self._latencies_s.append(self._clock() - self._due_s[number])
            self._acknowledged.append(name_of(self._load, number))
        if connection.open:
            self._idle.append(connection)
        if self._statuses.total() == self._load.num_submits:
            self._all_answered.set()
        self._send()


async def _generate(load: Load) -> Outcome:
    return await Generator(load).run()


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_generate(Load(**json.loads(sys.argv[1])))))))
