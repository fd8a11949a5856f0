"""Tumbler under fire: one run whose workers are killed again and again, each time all are back."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.shared_steps import Fault, SharedStep, StepLogs
from orchestrator.domain.audit import audit
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from trainers.main import train

STEP_LOG = "TUMBLER_STEP_LOG"
POLL_S = 0.02
STEPS_BETWEEN = 12
"""Steps at full strength before the next fault."""
START_S = 1.5
"""A replacement is killed at most this long after its process began, which is before it is ready."""

ONE, WHILE_STARTING, TWO = "one", "while a replacement starts", "two at once"


@dataclass(frozen=True)
class Drilled:
    """A run that is over, and what was done to it."""

    num_workers: int
    faults: Sequence[Fault]
    num_planned: int
    """How many faults the schedule held."""
    shared: Sequence[SharedStep]
    events: Sequence[dict[str, Any]]
    parameters_sha256: str | None
    audit_ok: bool


class RunOver(Exception):
    """The run ended before the next fault was due."""


class Beside:
    """Works in a thread beside a run, until its work is done or the run is over."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, run: RunDirectory) -> None:
        """Takes the run directory as soon as there is one."""
        self._thread = threading.Thread(target=self._work, args=[run], name=type(self).__name__.lower())
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self, run: RunDirectory) -> None:
        raise NotImplementedError


class Saboteur(Beside):
    """Works through a schedule of faults; all chance comes from `seed`."""

    def __init__(self, schedule: Sequence[str], num_workers: int, logs: StepLogs, seed: int) -> None:
        super().__init__()
        self.faults: list[Fault] = []
        self._schedule = schedule
        self._full = num_workers
        self._logs = logs
        self._random = random.Random(seed)

    def _work(self, run: RunDirectory) -> None:
        try:
            for kind in self._schedule:
                self._strike(kind, self._at_full_strength(), run)
        except RunOver:
            return

    def _strike(self, kind: str, step_s: float, run: RunDirectory) -> None:
        num_started = len(events_of(run, "worker-started"))
        self._sleep(self._random.uniform(0, 2) * step_s)
        members = self._members()
        if kind == TWO:
            self._kill(TWO, self._random.sample(members, 2))
            return
        self._kill(ONE, [self._random.choice(members)])
        if kind == WHILE_STARTING:
            self._wait(lambda: len(events_of(run, "worker-started")) > num_started)
            self._sleep(self._random.uniform(0, START_S))
            replacement = events_of(run, "worker-started")[-1]
            survivors = self._members()
            # The last survivor takes the state with it, which is another drill.
            candidates = [replacement["pid"], *(survivors if len(survivors) > 1 else ())]
            warm = {event["worker"] for event in events_of(run, "worker-warm")}
            still_starting = replacement["worker"] not in warm
            self._kill(WHILE_STARTING if still_starting else ONE, [self._random.choice(candidates)])

    def _kill(self, kind: str, victims: Sequence[int]) -> None:
        self._logs.refresh()
        fault = Fault(kind, time.time(), tuple(victims), tuple(self._members()), self._full)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        self.faults.append(fault)

    def _members(self) -> list[int]:
        self._logs.refresh()
        newest = self._logs.newest
        assert newest is not None, "a fault comes after the first steps"
        return list(newest.pids)

    def _at_full_strength(self) -> float:
        """Wait for some steps of all workers, none of which was killed before; returns their median time."""
        dead = {victim for fault in self.faults for victim in fault.victims}
        ends: dict[int, float] = {}

        def settled() -> bool:
            self._logs.refresh()
            newest = self._logs.newest
            if newest is not None and len(newest.pids) == self._full and not dead & set(newest.pids):
                ends[newest.step] = newest.t
            return bool(ends) and max(ends) - min(ends) >= STEPS_BETWEEN

        self._wait(settled)
        first, last = min(ends), max(ends)
        return (ends[last] - ends[first]) / (last - first)

    def _wait(self, done: Callable[[], bool]) -> None:
        while not done():
            self._sleep(POLL_S)

    def _sleep(self, seconds: float) -> None:
        if self._over.wait(seconds):
            raise RunOver


def events_of(run: RunDirectory, kind: str) -> list[dict[str, Any]]:
    """The events of one kind so far."""
    return [event for event in read_journal(run.outbox, "events") if event["kind"] == kind]


def drill(spec: RunSpec, schedule: Sequence[str], *, num_workers: int, seed: int, folder: Path) -> Drilled:
    """Train to the end in a local Ray of its own while the schedule is worked through.

    `folder` takes the step logs. Raises as `trainers.main.train` does.
    """
    folder.mkdir(parents=True)
    logs = StepLogs(folder)
    saboteur = Saboteur(schedule, num_workers, logs, seed)
    with logging_steps(folder):
        try:
            result = train(spec, num_cpus=num_workers + 1, on_start=saboteur.begin)
        finally:
            saboteur.end()
    logs.refresh()
    return Drilled(
        num_workers=num_workers,
        faults=saboteur.faults,
        num_planned=num_faults(schedule),
        shared=logs.shared,
        events=list(read_journal(result.run.outbox, "events")),
        parameters_sha256=result.parameters_sha256,
        audit_ok=audit(result.run).ok,
    )


def num_faults(schedule: Sequence[str]) -> int:
    """A fault while a replacement starts needs one before it."""
    return sum(2 if kind == WHILE_STARTING else 1 for kind in schedule)


@contextmanager
def logging_steps(folder: Path) -> Iterator[None]:
    """The workers of a local Ray that is started now inherit where to log their steps."""
    before = os.environ.get(STEP_LOG)
    os.environ[STEP_LOG] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[STEP_LOG]
        else:
            os.environ[STEP_LOG] = before
