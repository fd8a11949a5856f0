"""A webhook of a real service process that is killed with SIGKILL while its receiver is away."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from api.client import Client

ROOT = Path(__file__).resolve().parents[3]
RUN = {"name": "brave-otter", "task": "language_model", "train": {"steps": 5}}


def eventually(look: Callable[[], bool], patience_s: float = 40.0) -> None:
    until_s = time.monotonic() + patience_s
    while not look():
        assert time.monotonic() < until_s, "it never came"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(folder: Path, end: signal.Signals) -> Iterator[Client]:
    """A service that finds no Ray, for as long as the block runs; then it gets the signal."""
    home = folder / "home"
    words = ["--home", str(home), "--port", "0", "--ray-address", "http://127.0.0.1:9"]
    environment = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", "api.server", *words], env=environment)

    def url() -> str | None:
        try:
            found = json.loads((home / "service.json").read_text())
        except (OSError, ValueError):
            return None
        return str(found["url"]) if found["pid"] == process.pid else None

    try:
        eventually(lambda: url() is not None)
        with Client(str(url())) as client:
            yield client
    finally:
        process.send_signal(end)
        process.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_nothing_is_lost_when_the_service_is_killed_while_the_receiver_is_away(tmp_path: Path) -> None:
    port, got = free_port(), list[str]()
    config = tmp_path / ".config" / "tumbler" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(
        f'[[webhooks]]\nname = "ops"\nurl = "http://127.0.0.1:{port}/"\n'
        'secret = "sixteen-and-more"\nevents = ["run-submitted", "CANCELLED"]\n'
    )
    standing = tmp_path / "home" / "webhooks" / "ops.json"
    with served(tmp_path, signal.SIGKILL) as client:
        eventually(standing.is_file)
        client.submit(RUN)
        eventually(lambda: "failing" in standing.read_text() and "ConnectError" in standing.read_text())

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            got.append(str(self.headers["webhook-id"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with served(tmp_path, signal.SIGTERM) as client:
        run = client.run("brave-otter")
        eventually(lambda: got == [f"{run.id}.1"])
        client.cancel("brave-otter")
        eventually(lambda: got == [f"{run.id}.1", f"{run.id}.2"])
    server.shutdown()
    server.server_close()
