"""What `up` and `down` touch of this machine: ports, processes, folders, the head. Tests stand in for it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

from api.cli.places import ServiceRecord, living_service
from api.cli.processes import end, is_alive
from api.client import Client
from api.client_types import TERMINAL
from api.settings import Settings
from cluster.head import Head, start_head
from orchestrator.domain.errors import StorageError, TumblerError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus

_SERVICE_STOPS_S = 20.0
_LOG_TAIL = 8


@dataclass(frozen=True)
class HeadInfo:
    """The Ray head that `up` started, and that lives."""

    dashboard_url: str
    address: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    """What a process needs in its environment to be let in."""


class Machine(Protocol):
    """This machine, as far as one home is concerned."""

    def service(self) -> ServiceRecord | None:
        """The living service of the home."""

    def head(self) -> HeadInfo | None:
        """The living head of the home."""

    def head_is_gone(self) -> bool:
        """There was a head, nobody stopped it, and it lives no more."""

    def port_is_free(self, host: str, port: int) -> bool: ...

    def start_head(self, num_cpus: int | None) -> HeadInfo: ...

    def start_service(self, environment: Mapping[str, str]) -> int:
        """In the background, in a session of its own; returns its process id."""

    def become_service(self, environment: Mapping[str, str]) -> NoReturn:
        """This process serves from now on."""

    def lives(self, pid: int) -> bool: ...

    def stop_process(self, pid: int) -> None:
        """One that `start_service` started and that did not get ready."""

    def answers(self, url: str) -> bool: ...

    def last_words(self) -> str:
        """The end of the service's log."""

    def active_runs(self, service: ServiceRecord | None) -> list[str]: ...

    def stop_service(self, service: ServiceRecord) -> bool: ...

    def stop_head(self) -> bool:
        """False where there was none."""

    def remove_home(self) -> None: ...

    def sleep(self, seconds: float) -> None: ...

    def monotonic(self) -> float: ...


class ThisMachine:
    """The real one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = settings.home / "logs" / "service.log"
        self._started: subprocess.Popen[bytes] | None = None

    def service(self) -> ServiceRecord | None:
        return living_service(self._settings.service_file)

    def head(self) -> HeadInfo | None:
        found = Head.load(self._settings.home)
        return None if found is None else _info(found)

    def head_is_gone(self) -> bool:
        found = Head.recorded(self._settings.home)
        return found is not None and not found.alive()

    def port_is_free(self, host: str, port: int) -> bool:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), port))
            except OSError:
                return False
        return True

    def start_head(self, num_cpus: int | None) -> HeadInfo:
        self._make_home()
        return _info(start_head(self._settings.home, num_cpus=num_cpus))

    def start_service(self, environment: Mapping[str, str]) -> int:
        self._make_home()
        with self._log.open("ab") as log:
            self._started = subprocess.Popen(
                [sys.executable, "-m", "api.server"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                cwd=self._settings.home,
                start_new_session=True,
            )
        return self._started.pid

    def become_service(self, environment: Mapping[str, str]) -> NoReturn:
        self._make_home()
        os.execve(sys.executable, [sys.executable, "-m", "api.server"], {**os.environ, **environment})

    def lives(self, pid: int) -> bool:
        if self._started is not None and self._started.pid == pid:
            return self._started.poll() is None
        return is_alive(pid, None)

    def stop_process(self, pid: int) -> None:
        end(pid, lambda: self.lives(pid), patience_s=5.0)

    def answers(self, url: str) -> bool:
        with Client(url) as client:
            return client.ready()

    def last_words(self) -> str:
        try:
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_TAIL:])
        except OSError:
            return ""

    def active_runs(self, service: ServiceRecord | None) -> list[str]:
        if service is not None:
            try:
                with Client(service.url, sleep=lambda seconds: None) as client:
                    waiting = (RunStatus.QUEUED, RunStatus.PAUSED)
                    statuses = [one for one in RunStatus if one not in TERMINAL and one not in waiting]
                    return [run.name for run in client.runs(status=statuses)]
            except TumblerError:
                pass  # it lives and does not answer; the directories know as well
        return [run.name for run in _living(self._settings.storage)]

    def stop_service(self, service: ServiceRecord) -> bool:
        return end(
            service.pid,
            lambda: is_alive(service.pid, service.started, calls="api.server"),
            patience_s=_SERVICE_STOPS_S,
        )

    def stop_head(self) -> bool:
        found = Head.recorded(self._settings.home)
        if found is None:
            return False
        found.stop()
        return True

    def remove_home(self) -> None:
        shutil.rmtree(self._settings.home, ignore_errors=True)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()

    def _make_home(self) -> None:
        self._settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log.parent.mkdir(exist_ok=True)


def _info(head: Head) -> HeadInfo:
    return HeadInfo(head.dashboard_url, head.address, head.env)


def _living(storage: Path) -> list[RunDirectory]:
    """Runs that train by what their directories say; a broken directory is no reason to keep a head."""
    found = []
    for path in sorted(storage.glob("[!.]*/run.json")):
        run = RunDirectory(path.parent)
        try:
            status = run.read_status().status
        except StorageError:
            continue
        if not status.terminal and status not in (RunStatus.QUEUED, RunStatus.PAUSED):
            found.append(run)
    return found
