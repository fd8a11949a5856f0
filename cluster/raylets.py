"""The raylet above a worker's process: the node it runs on, and how to reach the Ray that it belongs to."""

import os
import random
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import WorkerNotFound
from cluster.faults import Member, living_members
from orchestrator.domain.run_directory import RunDirectory

_ACCESS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True)
class Raylet:
    """One node of a Ray, on this machine."""

    pid: int
    address: str
    """Of the GCS, `IP:PORT`."""
    head: bool
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What a process needs in its environment to be let in."""


@dataclass(frozen=True)
class NodeKilled:
    """One SIGKILL of a raylet; its workers go with it."""

    pid: int
    workers: tuple[str, ...]
    """Members of the run on that node."""
    generation: int
    """That the kill ended."""
    time_s: float
    """Seconds since 1970, taken just before the signal."""


def kill_node(run: RunDirectory, worker: str | None = None, rng: random.Random | None = None) -> NodeKilled:
    """SIGKILL the raylet of a node of this machine that has members of a run: that of the named one, or any.

    Raises WorkerNotFound where there is none but the head, which holds the controller.
    """
    generation, members = living_members(run)
    nodes: dict[Raylet | None, list[Member]] = {}
    for member in members:
        nodes.setdefault(raylet_of(member.pid) if member.process.is_here() else None, []).append(member)
    found = [
        (raylet, on_it)
        for raylet, on_it in nodes.items()
        if raylet is not None and worker in (None, *(member.worker for member in on_it))
    ]
    if not found:
        wanted = f"worker {worker}" if worker else "any worker"
        raise WorkerNotFound(
            f"the node of {wanted} of run '{run.name}' is not on this machine",
            hint="run this where its raylet runs, or choose another with --worker",
        )
    killable = [(raylet, on_it) for raylet, on_it in found if not raylet.head]
    if not killable:
        raise WorkerNotFound(
            f"run '{run.name}' has its workers on the head node, and that is no node it could survive",
            hint="`tumbler chaos kill-head` kills the whole head",
        )
    raylet, on_it = (rng or random.Random()).choice(killable)
    time_s = time.time()
    os.kill(raylet.pid, signal.SIGKILL)
    return NodeKilled(raylet.pid, tuple(member.worker for member in on_it), generation, time_s)


def raylet_of(pid: int) -> Raylet | None:
    """The raylet that started a process of this machine; None where there is none."""
    while pid > 1:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return None
        if Path(command[0]).name == "raylet":
            return _raylet(pid, command)
        pid = int(fields[1])
    return None


def _raylet(pid: int, command: list[str]) -> Raylet | None:
    address = re.search(r"--gcs-address=(\S+)", " ".join(command))
    if address is None:
        return None
    return Raylet(pid, address[1], head="--head" in command, env=_access(pid))


def _access(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # of another user
        return {}
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, _, value in pairs if name in _ACCESS}
