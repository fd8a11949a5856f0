"""A reader of the service's server-sent events that knows when each arrived."""

import http.client
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Arrival:
    """One event, and the moment its last line was here."""

    kind: str
    id: str
    data: dict[str, Any]
    monotonic_s: float
    unix_s: float
    """Seconds since 1970, to compare with when the event says it happened."""


class EventParser:
    """Server-sent events from their lines, as the WHATWG standard has them; comments are left out."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> tuple[str, str, str] | None:
        """(event, id, data) when this line, given without its newline, ended an event."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            known = self._fields.get(name)
            self._fields[name] = value if known is None or name != "data" else f"{known}\n{value}"
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        return fields.get("event", "message"), fields.get("id", ""), fields["data"]


class EventStream:
    """Reads in a thread; `wait` looks at what arrived, in order, each event once."""

    def __init__(self, host: str, port: int, path: str) -> None:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        connection.connect()
        self._socket: socket.socket = connection.sock
        connection.request("GET", path, headers={"Accept": "text/event-stream"})
        self._answer = connection.getresponse()
        if self._answer.status != http.HTTPStatus.OK:
            raise ValueError(f"GET {path}: {self._answer.status} {self._answer.read()[:500]!r}")
        self._arrived: queue.Queue[Arrival | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self, condition: Callable[[Arrival], bool], timeout_s: float = TIMEOUT_S) -> Arrival:
        """The next arrival that meets the condition; those before are dropped. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                arrival = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no such event arrived within {timeout_s} s") from None
            if arrival is None:
                raise TimeoutError("the stream ended without such an event")
            if condition(arrival):
                return arrival

    def until_end(self, timeout_s: float = TIMEOUT_S) -> list[Arrival]:
        """All arrivals up to the event `end`. Raises TimeoutError."""
        arrivals: list[Arrival] = []

        def is_end(arrival: Arrival) -> bool:
            arrivals.append(arrival)
            return arrival.kind == "end"

        self.wait(is_end, timeout_s)
        return arrivals

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader, as closing would not
        self._thread.join(TIMEOUT_S)
        self._answer.close()
        self._socket.close()

    def _read(self) -> None:
        parser = EventParser()
        try:
            while line := self._answer.readline():
                self._take(parser.feed(line.decode().rstrip("\r\n")))
        except (OSError, http.client.HTTPException):
            pass  # it was closed, here or there
        finally:
            self._arrived.put(None)

    def _take(self, event: tuple[str, str, str] | None) -> None:
        if event is not None:
            kind, name, data = event
            self._arrived.put(Arrival(kind, name, json.loads(data), time.monotonic(), time.time()))


@contextmanager
def event_stream(host: str, port: int, path: str) -> Iterator[EventStream]:
    stream = EventStream(host, port, path)
    try:
        yield stream
    finally:
        stream.close()
