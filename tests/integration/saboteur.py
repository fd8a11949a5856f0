"""Kills workers of a running run at chosen moments; the moments are data."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray

from orchestrator.domain.journal import read_journal
from orchestrator.domain.ray_names import NAMESPACE, controller_name
from orchestrator.domain.run_directory import RunDirectory
from trainers.elastic.faults import Fault


@dataclass
class Watched:
    """A run as its durable record shows it."""

    run: RunDirectory

    def step(self) -> int:
        return self.run.read_status().step

    def events(self, kind: str | None = None) -> list[dict]:
        return [e for e in read_journal(self.run.outbox, "events") if kind in (None, e["kind"])]

    def members(self) -> dict[str, int]:
        """worker id -> pid, of the newest generation, in rank order."""
        pids = {e["worker"]: e["pid"] for e in self.events("worker-started")}
        started = self.events("generation-started")
        return {w: pids[w] for w in started[-1]["workers"]} if started else {}

    def wait(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the run did not get there")
            time.sleep(0.01)


@dataclass
class Saboteur:
    """Runs a plan of faults in a thread beside the run; an error of the plan fails the test."""

    plan: Callable[[Watched], None]
    failures: list[BaseException] = field(default_factory=list)

    def on_start(self, run: RunDirectory) -> None:
        def work() -> None:
            try:
                self.plan(Watched(run))
            except BaseException as error:
                self.failures.append(error)

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()


@contextmanager
def sabotage(plan: Callable[[Watched], None]) -> Iterator[Saboteur]:
    saboteur = Saboteur(plan)
    yield saboteur
    saboteur.thread.join(timeout=30)
    assert not saboteur.thread.is_alive(), "the plan of faults was not finished when the run ended"
    if saboteur.failures:
        raise saboteur.failures[0]


def controller_of(run: RunDirectory) -> Any:
    return ray.get_actor(controller_name(run.name), namespace=NAMESPACE)


def controller_pid(run: RunDirectory) -> int:
    return int(ray.get(controller_of(run).__ray_call__.remote(lambda self: os.getpid())))


def set_target(watched: Watched, workers: int) -> None:
    ray.get(controller_of(watched.run).set_target.remote(workers))


def four_then_two_then_three(run: Watched, changed: Callable[[Watched], None] = lambda run: None) -> None:
    """A plan for one worker, with kills during recovery; `changed` is called when there are four."""
    set_target(run, 4)
    run.wait(lambda: len(run.members()) == 4)
    changed(run)
    formed = len(run.events("generation-started"))
    kill_ranks(run, 3)
    run.wait(lambda: len(run.events("generation-started")) > formed)
    kill_ranks(run, 0)  # the others have hardly gone on
    started = len(run.events("worker-started"))
    set_target(run, 2)
    run.wait(lambda: len(run.members()) == 2)
    set_target(run, 3)
    run.wait(lambda: len(run.events("worker-started")) > started)
    kill_ranks(run, 1)  # while the third one starts
    run.wait(lambda: len(run.members()) == 3)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid, number)


def inject(watched: Watched, rank: int, fault: Fault) -> str:
    """Put a fault into a member; its worker id."""
    worker = list(watched.members())[rank]
    ray.get(controller_of(watched.run).inject.remote(worker, fault))
    return worker


def kill_ranks(watched: Watched, *ranks: int) -> list[int]:
    pids = list(watched.members().values())
    victims = [pids[rank] for rank in ranks]
    for pid in victims:
        kill(pid)
    return victims


def kill_random_member(watched: Watched, rng: random.Random) -> int:
    return kill_ranks(watched, rng.randrange(len(watched.members())))[0]
