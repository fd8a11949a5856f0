"""The REST interface of the service in memory, as far as commands use it: scripted, and it remembers."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2

from api.client import Client

URL = "http://127.0.0.1:8700"
Handler = Callable[[httpx2.Request], httpx2.Response]


def run_json(name: str = "brave-otter", status: str = "RUNNING", **changes: Any) -> dict[str, Any]:
    """One run as the service shows it."""
    return {
        "id": f"id-{name}",
        "name": name,
        "status": status,
        "reason": None,
        "message": "",
        "phase": "",
        "labels": {"team": "nlp"},
        "queue": "default",
        "priority": 50,
        "workers": {"min": 1, "max": 2, "now": 2, "target": 2},
        "attempt": 1,
        "driver": 1,
        "generation": 3,
        "step": 40,
        "total_steps": 100,
        "metrics": {"loss": 2.5, "count": 2048.0},
        "checkpoint": None,
        "parameters_sha256": None,
        "created": "2026-01-31T00:00:00.000Z",
        "queued": "2026-01-31T00:00:00.000Z",
        "started": None,
        "ended": None,
        "updated": "2026-01-31T00:01:00.000Z",
        "path": f"/nowhere/{name}",
        "version": 7,
        "of_a_later_version": 1,
        **changes,
    }


def event_json(seq: int, kind: str, message: str, **facts: Any) -> dict[str, Any]:
    return {
        "seq": seq,
        "time": f"2026-01-31T00:00:{seq:02d}.000Z",
        "kind": kind,
        "message": message,
        "attempt": 1,
        "facts": facts,
    }


def problem(status: int, code: str, detail: str, **more: Any) -> httpx2.Response:
    content = {"type": "about:blank", "title": "No", "status": status, "detail": detail, "code": code, **more}
    return httpx2.Response(
        status, content=json.dumps(content).encode(), headers={"Content-Type": "application/problem+json"}
    )


def message(kind: str, data: Any, place: str = "") -> bytes:
    """One server-sent event."""
    return f"event: {kind}\nid: {place}\ndata: {json.dumps(data)}\n\n".encode()


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def __call__(self) -> float:
        return self.now_s


class FakeRest:
    """By method and path below /api/v1 it answers with JSON, a response, or an error that is raised."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        self.requests: list[httpx2.Request] = []
        self.streams: list[list[bytes | Exception]] = []
        """What the next connections to a stream get, piece by piece."""
        self.clock = Clock()

    def on(self, method: str, path: str, *answers: Any) -> "FakeRest":
        """The last answer is given again and again."""
        self.answers[method, path] = list(answers)
        return self

    def has(self, *runs: dict[str, Any]) -> "FakeRest":
        """Runs that can be found by name and by id, and listed."""
        for run in runs:
            for reference in (run["id"], run["name"]):
                self.on("GET", f"/runs/{reference}", run)
                for what in ("attempts", "generations", "workers", "checkpoints"):
                    self.on("GET", f"/runs/{reference}/{what}", {what: []})
                self.on("GET", f"/runs/{reference}/events", {"events": [], "next_after": 0})
        return self.on("GET", "/runs", {"runs": list(runs), "next_cursor": None})

    def client(self) -> Client:
        transport = httpx2.MockTransport(self._handle)
        return Client(URL, transport=transport, sleep=self.clock.sleep, monotonic=self.clock)

    def asked(self) -> list[str]:
        """Such as `POST /runs`, in order."""
        return [f"{one.method} {self._path(one)}" for one in self.requests]

    def sent(self, method: str = "POST") -> Any:
        """The body of the last request of that method."""
        return json.loads([one for one in self.requests if one.method == method][-1].content)

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        path = self._path(request)
        if path.endswith("/stream") and self.streams:
            return self._stream()
        left = self.answers.get((request.method, path))
        if left is None:
            return problem(404, "run-not-found", f"there is no {path}", hint="did you mean another?")
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer)

    def _stream(self) -> httpx2.Response:
        pieces = self.streams.pop(0)

        def content() -> Iterator[bytes]:
            for piece in pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece

        return httpx2.Response(200, content=content(), headers={"Content-Type": "text/event-stream"})

    def _path(self, request: httpx2.Request) -> str:
        return request.url.path.removeprefix("/api/v1")
