"""The real service as a process of its own: started, asked, killed and started again."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from benchmarks.peers.processes import python_module, start, stop

HOST = "127.0.0.1"
NO_RAY = f"http://{HOST}:1"
"""An address at which no Ray answers: queued runs wait."""
OWN_HEAD = "auto"
"""The head that runs in the home of the service, and that the service looks after."""
POLL_S = 0.01
REQUEST_TIMEOUT_S = 30.0
PAGE = 500


class ServiceDied(Exception):
    """The process ended before it was ready."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class ServiceProcess:
    """`python -m api.server` with a home and a port that no other service has; the port stays the same."""

    folder: Path
    """Empty or of an earlier life; holds the home and what the service printed."""
    ray_address: str = NO_RAY
    environment: Mapping[str, str] = field(default_factory=dict)
    """On top of this process's own."""
    port: int = field(default_factory=lambda: free_port())
    process: subprocess.Popen[bytes] | None = None
    killed: bool = False
    """The newest process was killed from here, not by a failpoint."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def output(self) -> Path:
        return self.folder / "service.log"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, *, failpoints: str = "") -> Self:
        """`failpoints` as in TUMBLER_FAILPOINTS, `name:probability:seed`. It is not ready yet on return."""
        self.home.mkdir(parents=True, exist_ok=True)
        settings = {
            "HOME": str(self.folder),
            "TUMBLER_HOME": str(self.home),
            "TUMBLER_PORT": str(self.port),
            "TUMBLER_RAY_ADDRESS": self.ray_address,
            "TUMBLER_FAILPOINTS": failpoints,
        }
        self.killed = False
        self._begun = time.monotonic()
        self.process = start(
            python_module("api.server"), self.output, _WITHOUT_RAY | settings | dict(self.environment)
        )
        return self

    def wait_ready(self, timeout_s: float = 30.0) -> float:
        """Seconds from `start` until it called itself ready. Raises ServiceDied, TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.alive:
                raise ServiceDied(f"the service ended before it was ready:\n{self.tail()}")
            try:
                if self.ask("GET", "/readyz").status == http.HTTPStatus.OK:
                    return time.monotonic() - self._begun
            except (OSError, http.client.HTTPException):
                pass  # it does not listen yet, or died; seen above
            if time.monotonic() > deadline:
                raise TimeoutError(f"the service was not ready in {timeout_s} s:\n{self.tail()}")
            time.sleep(POLL_S)

    def wait_dead(self, timeout_s: float) -> bool:
        """Whether it ended by itself in that time."""
        assert self.process is not None
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """As a power cut does, for the process; nothing where it is dead already."""
        assert self.process is not None
        if self.alive:
            self.killed = True
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """As an operator does; nothing where it never started or is dead."""
        if self.process is not None and self.alive:
            stop(self.process)

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own. Raises OSError or HTTPException where none answers."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=REQUEST_TIMEOUT_S)
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def submit(self, spec: Mapping[str, Any], key: str) -> Answer:
        return self.ask("POST", "/api/v1/runs", spec, {"Idempotency-Key": key})

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """The JSON below /api/v1/. Raises ValueError for another answer than 200."""
        answer = self.ask("GET", f"/api/v1/{path}?{urlencode(query, doseq=True)}")
        if answer.status != http.HTTPStatus.OK:
            raise ValueError(f"GET {path}: {answer.status} {answer.body[:500]!r}")
        return answer.json()

    @contextmanager
    def connected(self) -> Iterator[Callable[[str], dict[str, Any]]]:
        """`get` for thousands of questions: on one connection, for ports do not come back at once."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=REQUEST_TIMEOUT_S)

        def get(path: str) -> dict[str, Any]:
            answer = ask(connection, "GET", f"/api/v1/{path}")
            if answer.status != http.HTTPStatus.OK:
                raise ValueError(f"GET {path}: {answer.status} {answer.body[:500]!r}")
            return answer.json()

        with closing(connection):
            yield get

    def runs(self, **query: object) -> Iterator[dict[str, Any]]:
        """All runs of a query, page by page."""
        cursor: dict[str, object] = {}
        while True:
            page = self.get("runs", limit=PAGE, **query, **cursor)
            yield from page["runs"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def resident_bytes(self) -> int:
        """Memory that the process holds now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """Processor time that the process has used in its life."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def tail(self) -> str:
        return self.output.read_text(errors="replace")[-3000:] if self.output.exists() else ""


@contextmanager
def running_service(folder: Path, ray_address: str = NO_RAY) -> Iterator[ServiceProcess]:
    """A service that is ready, stopped when the context is left."""
    service = ServiceProcess(folder, ray_address).start()
    try:
        service.wait_ready()
        yield service
    finally:
        service.end()


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request with its whole answer; the connection can be used again."""
    content = None if body is None else json.dumps(body)
    kind = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, content, {**kind, **(headers or {})})
    answer = connection.getresponse()
    names = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, names, answer.read())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


_WITHOUT_RAY = {name: "" for name in os.environ if name.startswith("RAY_")} | {"RAY_AUTH_MODE": "disabled"}
