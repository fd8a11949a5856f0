"""The processes of one head: they carry the mark that the first was started with.

Environments are inherited, so the mark finds daemons, workers and drivers alike, whatever they call
themselves and whoever their parent is now. Ray's agents write their titles over it: those are known by their
session, which is the head's own. Linux only, by /proc.
"""

import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MARK: Final = "TUMBLER_HEAD"
"""Environment variable; its value is the id of the head."""
_LOOK_EVERY_S: Final = 0.05
_CLIENT_SERVER: Final = "ray.util.client.server"
_WRITER: Final = "trainers.checkpoints.writer_process"
_AGENTS: Final = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray-dashboard-")


@dataclass(frozen=True)
class Daemon:
    """A process as it was started, so that it can be told from others, and be started again."""

    pid: int
    started: int
    """Clock ticks since the machine began: process ids are used again."""
    session: int
    command: tuple[str, ...]
    env: Mapping[str, str]

    @property
    def program(self) -> str:
        """`gcs_server`, `raylet`, `dashboard`; what has no name of its own is called by its first word."""
        scripts = [Path(argument).stem for argument in self.command[1:] if argument.endswith(".py")]
        if _CLIENT_SERVER in self.command:
            return _CLIENT_SERVER
        return scripts[0] if scripts else Path(self.command[0]).name

    @property
    def serves(self) -> bool:
        """A part of Ray itself. All else is work that it carries out: workers, drivers, what they started."""
        return (
            self.program in ("gcs_server", "raylet", "dashboard", _CLIENT_SERVER)
            or self.command[0].startswith(_AGENTS)
            or any("from multiprocessing." in argument for argument in self.command)
        )

    @property
    def holds_snapshots(self) -> bool:
        """A writer process: the next attempt of its run may want what it has, and it ends by itself."""
        return _WRITER in self.command

    def is_alive(self) -> bool:
        return start_ticks(self.pid) == self.started


def start_ticks(pid: int) -> int | None:
    """When a process began; None for one that lives no more."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """Of a process that lives, from its state on: that is field 0, session 3, start 19."""
    try:
        # After the name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields


@dataclass
class Household:
    """All that lives of a head."""

    variable: str
    value: str
    """What the environment of each process says."""
    sessions: set[int] = field(default_factory=set)
    """Those known so far; agents outlive the daemons by which their session is found."""

    def look(self) -> list[Daemon]:
        mark = f"{self.variable}={self.value}".encode()
        marked, titled = [], []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environment = (folder / "environ").read_bytes().split(b"\0")
                if mark in environment:
                    marked += _read(folder, environment)
                elif (folder / "cmdline").read_bytes().decode(errors="replace").startswith(_AGENTS):
                    titled += _read(folder, [])
        self.sessions |= {one.session for one in marked}
        return marked + [one for one in titled if one.session in self.sessions]

    def end(self, *, patience_s: float, but_snapshots: bool = False) -> None:
        """Until nothing is left, or with `but_snapshots` nothing but who holds some: the work first and at
        once, then Ray itself.

        Work gets no SIGTERM: to a driver that is the wish to cancel its run, and the run is to go on under
        the next head. Ray gets SIGKILL when `patience_s` is over.
        """

        def those() -> list[Daemon]:
            return [one for one in self.look() if not (but_snapshots and one.holds_snapshots)]

        _signal((one for one in those() if not one.serves), signal.SIGKILL)
        _signal((one for one in those() if one.serves), signal.SIGTERM)
        until_s = time.monotonic() + patience_s
        while left := those():
            patient = time.monotonic() < until_s
            _signal((one for one in left if not (patient and one.serves)), signal.SIGKILL)
            time.sleep(_LOOK_EVERY_S)


def _read(folder: Path, environment: Iterable[bytes]) -> list[Daemon]:
    """One, or none where it is gone."""
    pid = int(folder.name)
    fields = _stat(pid)
    if fields is None:
        return []
    command = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    pairs = (entry.decode(errors="replace").partition("=") for entry in environment if entry)
    env = {name: value for name, _, value in pairs}
    return [Daemon(pid, int(fields[19]), int(fields[3]), tuple(command), env)]


def _signal(daemons: Iterable[Daemon], number: signal.Signals) -> None:
    for daemon in daemons:
        if daemon.is_alive():
            with suppress(ProcessLookupError):
                os.kill(daemon.pid, number)
