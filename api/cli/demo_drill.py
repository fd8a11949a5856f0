"""The fault in the demo, and what it cost according to the run's own journals."""

import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.cli.errors import DemoFailed
from api.history import Point
from cluster.faults import Killed, kill_worker, read_membership
from orchestrator.domain.errors import TumblerError
from orchestrator.domain.events import EventKind
from orchestrator.domain.run_directory import RunDirectory

_LOOK_EVERY_S = 0.02


@dataclass(frozen=True)
class Recovery:
    """What one kill cost."""

    next_step_s: float
    """From the kill to the first step of a group without the victim."""
    full_strength_s: float
    """From the kill to the first step of a group as large as before."""
    steps_repeated: int


def measure_recovery(
    points: Sequence[Point], events: Iterable[Mapping[str, Any]], killed: Killed, full: int
) -> Recovery:
    """Raises DemoFailed where training did not go on, or never with `full` workers again."""
    after = [point for point in points if point.get("generation", 0) > killed.generation]
    if not after:
        raise DemoFailed(f"no step was done after worker {killed.worker} was killed")
    restored = next((point for point in after if point["workers"] >= full), None)
    if restored is None:
        raise DemoFailed(
            f"the replacement of worker {killed.worker} did not join before the last step",
            hint="the machine may be too busy to start it in time; try again when it is not",
        )
    formed = [event for event in events if event["kind"] == EventKind.GENERATION_STARTED]
    return Recovery(
        next_step_s=after[0]["time"] - killed.time_s,
        full_strength_s=restored["time"] - killed.time_s,
        steps_repeated=sum(e["steps_repeated"] for e in formed if e["generation"] > killed.generation),
    )


class Drill:
    """Kills one random worker of a run, from a thread beside the training."""

    def __init__(self, at_step: int, full: int, rng: random.Random | None = None) -> None:
        self._at_step = at_step
        self._full = full
        self._rng = rng or random.Random()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._killed: Killed | None = None
        self._failure: TumblerError | None = None

    @property
    def began(self) -> bool:
        return self._thread is not None

    def begin(self, run: RunDirectory) -> None:
        self._thread = threading.Thread(target=self.strike, args=(run,), name="drill", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Kill nobody from now on. Safe to call twice, and before `begin`."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def killed(self) -> Killed:
        """Who was killed. Raises DemoFailed where nobody could be."""
        if self._killed is None:
            why = self._failure or f"there were never {self._full} workers at step {self._at_step} or later"
            raise DemoFailed(f"no worker was killed: {why}")
        return self._killed

    def strike(self, run: RunDirectory) -> None:
        """Wait for the moment and kill; what `begin` does in its thread."""
        try:
            while not self._is_time(run):
                if self._over.wait(_LOOK_EVERY_S):
                    return
            # Somewhere within a step, not always at its end, where the status is written.
            self._over.wait(self._rng.random() * 0.2)
            self._killed = kill_worker(run, rng=self._rng)
        except TumblerError as error:
            self._failure = error

    def _is_time(self, run: RunDirectory) -> bool:
        if run.read_status().step < self._at_step:
            return False
        return len(read_membership(run).members) >= self._full
