"""Faults on purpose: what a drill does to a living run, seen only through its durable record."""

import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.processes import WorkerProcess, started_processes
from orchestrator.domain.errors import WorkerNotFound
from orchestrator.domain.events import EventKind
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory

_GONE = (EventKind.WORKER_LOST, EventKind.WORKER_RETIRED, EventKind.WORKER_HUNG, EventKind.WORKER_REFUSED)


@dataclass(frozen=True)
class Member:
    """A worker of the newest generation."""

    process: WorkerProcess
    rank: int

    @property
    def worker(self) -> str:
        return self.process.worker

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass(frozen=True)
class Killed:
    """One signal, that a worker cannot answer."""

    worker: str
    pid: int
    rank: int
    """In the generation that the kill ended."""
    generation: int
    time_s: float
    """Seconds since the Unix epoch, taken just before the signal."""


@dataclass(frozen=True)
class Membership:
    """The newest generation as the event journal tells it, without those that have left since."""

    generation: int
    """0 before the first one."""
    members: tuple[Member, ...]
    """In rank order."""


def kill_worker(
    run: RunDirectory, worker: str | None = None, rank: int | None = None, rng: random.Random | None = None
) -> Killed:
    """SIGKILL one member of a run: the named one, the one of that rank, or any.

    Only a process that is a Ray worker of this machine is ever killed. Raises WorkerNotFound where the run
    has ended, has no such member, or it is not here.
    """
    return _signal(run, signal.SIGKILL, choose_member(run, worker, rank, rng))


def hang_worker(
    run: RunDirectory, worker: str | None = None, rank: int | None = None, rng: random.Random | None = None
) -> Killed:
    """As `kill_worker`, with SIGSTOP: the process lives, its connections stay open, and it does nothing."""
    return _signal(run, signal.SIGSTOP, choose_member(run, worker, rank, rng))


def living_members(run: RunDirectory) -> tuple[int, tuple[Member, ...]]:
    """The newest generation and those of it that did not leave. Raises WorkerNotFound where nobody trains."""
    status = run.read_status().status
    if status.terminal:
        raise WorkerNotFound(f"run '{run.name}' has ended ({status}), so there is no worker to kill")
    membership = read_membership(run)
    if not membership.members:
        raise WorkerNotFound(
            f"run '{run.name}' has no worker that trains right now", hint="wait until its first step is done"
        )
    return membership.generation, membership.members


def choose_member(
    run: RunDirectory, worker: str | None = None, rank: int | None = None, rng: random.Random | None = None
) -> tuple[int, Member]:
    """The newest generation, and a member of it. Raises WorkerNotFound."""
    generation, members = living_members(run)
    return generation, _choose(run.name, members, worker, rank, rng or random.Random())


def _signal(run: RunDirectory, number: signal.Signals, chosen: tuple[int, Member]) -> Killed:
    generation, victim = chosen
    if not victim.process.is_here():
        raise WorkerNotFound(
            f"worker {victim.worker} of run '{run.name}' had process {victim.pid}, "
            "which is no Ray worker of this machine",
            hint="run this on the machine of that worker, or choose another with --worker or --rank",
        )
    time_s = time.time()
    try:
        os.kill(victim.pid, number)
    except ProcessLookupError:
        raise WorkerNotFound(f"worker {victim.worker} of run '{run.name}' was gone already") from None
    except PermissionError:
        raise WorkerNotFound(
            f"process {victim.pid} of worker {victim.worker} belongs to another user",
            hint="run this as the user who started Ray",
        ) from None
    return Killed(victim.worker, victim.pid, victim.rank, generation, time_s)


def read_membership(run: RunDirectory) -> Membership:
    """Who trains now, according to the event journal. Raises StorageError where it is broken."""
    attempt = run.record().attempt
    processes = {one.worker: one for one in started_processes(run) if one.attempt == attempt}
    members: list[Member] = []
    generation = 0
    for event in read_journal(run.outbox, "events"):
        if event["attempt"] != attempt:
            continue
        if event["kind"] == EventKind.GENERATION_STARTED:
            generation = event["generation"]
            members = [Member(processes[name], rank) for rank, name in enumerate(event["workers"])]
        elif event["kind"] in _GONE:
            members = [member for member in members if member.worker != event["worker"]]
    return Membership(generation, tuple(members))


def _choose(
    run: str, members: Sequence[Member], worker: str | None, rank: int | None, rng: random.Random
) -> Member:
    if worker is None and rank is None:
        return rng.choice(list(members))
    for member in members:
        if worker in (None, member.worker) and rank in (None, member.rank):
            return member
    wanted = " and ".join(
        f"{name} {value}" for name, value in (("id", worker), ("rank", rank)) if value is not None
    )
    known = ", ".join(f"{member.worker} (rank {member.rank})" for member in members)
    raise WorkerNotFound(f"run '{run}' has no worker of {wanted}, it has {known}")
