"""A head and a service of one's own, started and stopped as a user would: by `tumbler up` and `down`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.processes import ROOT
from orchestrator.domain.run_directory import RunDirectory


@dataclass
class Deployment:
    home: Path
    environment: dict[str, str]
    url: str

    @property
    def ray(self) -> str:
        return str(Path(sys.executable).with_name("ray"))

    @property
    def ray_environment(self) -> dict[str, str]:
        """For Ray's own commands, such as `ray job submit`."""
        head = self._state("head.json")
        return self.environment | head["env"] | {"RAY_ADDRESS": head["dashboard_url"]}

    def tumbler(
        self, *words: str, check: bool = True, timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "api.cli.main", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or ended.returncode == 0, (
            f"{words}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        )
        return ended

    def get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=10) as answer:
            return dict(json.load(answer))

    def run(self, name: str) -> dict[str, Any]:
        return self.get(f"runs/{name}")

    def run_directory(self, name: str) -> RunDirectory:
        return RunDirectory(self.home / "runs" / name)

    def kill_service(self) -> None:
        os.kill(self.service_pid(), signal.SIGKILL)

    def service_pid(self) -> int:
        return int(self._state("service.json")["pid"])

    def gcs_pid(self) -> int:
        return _process_with("gcs_server", "--config_list", str(self._state("head.json")["temp_dir"]))

    def driver_pid(self, name: str) -> int:
        """The process in which the run's driver runs, found by what it was told to do."""
        return _process_with("python", "trainers.driver", str(self.run_directory(name).path))

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come to that in time"
            time.sleep(0.1)

    def _state(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.home / name).read_text()))


@contextmanager
def deployment(folder: Path, *, num_cpus: int) -> Iterator[Deployment]:
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "HOME": str(folder),
        "TUMBLER_HOME": str(folder / "home"),
        "TUMBLER_PORT": str(port),
        "PYTHONPATH": str(ROOT),
    }
    deployed = Deployment(folder / "home", environment, f"http://127.0.0.1:{port}")
    try:
        deployed.tumbler("up", "--num-cpus", str(num_cpus))
        yield deployed
    finally:
        deployed.tumbler("down", "--force")


def _process_with(program: str, *words: str) -> int:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        text = " ".join(arguments)
        if program in Path(arguments[0]).name and all(word in text for word in words):
            return int(folder.name)
    raise LookupError(f"no process of {program} with {words}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
