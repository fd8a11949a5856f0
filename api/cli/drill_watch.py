"""What became of a run after a drill: when it stepped again, and whether all that must hold does."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from api.cli.output import tell
from cluster.invariants import Invariants, check_invariants
from orchestrator.domain.journal import JournalReader
from orchestrator.domain.run_directory import RunDirectory

_LOOK_EVERY_S: Final = 0.05
STEPS_AGAIN_WITHIN_S: Final = 120.0
"""A hung worker is found after two steps and 2 s, and in an evaluation or a checkpoint later."""
_ENDS_WITHIN_S: Final = 24 * 3600.0


class DrillWatch:
    """Reads a run's points as they are written, from the moment it is made."""

    def __init__(
        self,
        run: RunDirectory,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._sleep = sleep
        self._monotonic = monotonic
        self._points = JournalReader(run.outbox, "metrics")
        self._seen = 0
        self._attempt = run.record().attempt
        self._read()

    def next_step(
        self, after_s: float, generation: int = 0, within_s: float = STEPS_AGAIN_WITHIN_S
    ) -> dict[str, Any]:
        """The first step after a time (seconds since 1970) by a later generation than this, or by a later
        attempt; its fields are None where there was none."""
        deadline = self._monotonic() + within_s
        while True:
            ended = self._run.read_status().status.terminal
            later = self._run.record().attempt > self._attempt
            for point in self._read():
                fresh = later or point["generation"] > generation
                if point["time"] > after_s and fresh:
                    return {"step": point["step"], "next_step_s": round(point["time"] - after_s, 3)}
            if ended or self._monotonic() > deadline:
                return {"step": None, "next_step_s": None}
            self._sleep(_LOOK_EVERY_S)

    def ended(self) -> Invariants:
        """Wait for the end of the run, then check it."""
        deadline = self._monotonic() + _ENDS_WITHIN_S
        while not self._run.read_status().status.terminal and self._monotonic() < deadline:
            self._sleep(1.0)
        return check_invariants(self._run)

    def _read(self) -> list[dict[str, Any]]:
        """Steps since the last look."""
        found: list[dict[str, Any]] = []
        while records := self._points.read(self._seen):
            self._seen = records[-1]["seq"]
            found += [record for record in records if "kind" not in record]
        return found


def say(run: RunDirectory, done: dict[str, Any]) -> None:
    """When it stepped again, for the person who did it."""
    if done.get("next_step_s") is not None:
        tell(f"run {run.name} did step {done['step']} {done['next_step_s']:.3f} s later")
        return
    status = run.read_status()
    tell(f"run {run.name} has done no step since; it is {status.status} at step {status.step}")


def content_of(found: Invariants) -> dict[str, Any]:
    return {**asdict(found), "ok": found.ok}
