"""Kills and resizes of one run, again and again, at moments that a seed decides."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api.cli.drill_watch import DrillWatch
from api.cli.injections import controller_of
from api.cli.output import tell
from api.cli.places import service_for
from cluster.errors import WorkerNotFound
from cluster.faults import kill_worker
from orchestrator.domain.run_directory import RunDirectory

_CALM_S: Final = (0.2, 3.0)
"""Between two faults, evenly: some strike while the group recovers, or a replacement starts."""
_LOOK_EVERY_S: Final = 0.1
_SOMEBODY_WITHIN_S: Final = 120.0

Resize = Callable[[int], object]


@dataclass(frozen=True)
class Fault:
    calm_s: float
    """Before it."""
    workers: int | None
    """The new number of workers; None is a kill."""


def faults(kills: int, resizes: int, most: int, least: int, rng: random.Random) -> list[Fault]:
    """The same for the same seed."""
    kinds: list[int | None] = [None] * kills
    kinds += [rng.randint(least, most) for _ in range(resizes)]
    rng.shuffle(kinds)
    return [Fault(rng.uniform(*_CALM_S), kind) for kind in kinds]


class Storm:
    def __init__(
        self,
        run: RunDirectory,
        reference: str,
        storage: Path | None,
        *,
        kills: int,
        resizes: int,
        seed: int,
        most: int | None,
    ) -> None:
        spec = run.spec()
        self._run = run
        self._reference = reference
        self._storage = storage
        self._rng = random.Random(seed)
        most = most or min(max(spec.workers.max, 2), spec.train.logical_shards)
        self._faults = faults(kills, resizes, most, spec.workers.min, self._rng)

    def rage(self) -> list[dict[str, Any]]:
        """All faults in their order; returns what was done. Ends early where the run does."""
        done: list[dict[str, Any]] = []
        with self._resizing() as resize:
            for fault in self._faults:
                time.sleep(fault.calm_s)
                if not self._somebody_trains():
                    tell("the run ended before the storm did")
                    break
                done.append(self._strike(fault, resize))
        return done

    def _strike(self, fault: Fault, resize: Resize) -> dict[str, Any]:
        watch = DrillWatch(self._run)
        if fault.workers is not None:
            begun = time.time()
            resize(fault.workers)
            struck: dict[str, Any] = {"kind": "resize", "workers": fault.workers, "time_s": begun}
            struck |= watch.next_step(begun)
        else:
            try:
                killed = kill_worker(self._run, rng=self._rng)
            except WorkerNotFound as gone:  # it left in this very moment
                return {"kind": "missed", "why": str(gone)}
            struck = {"kind": "kill", "worker": killed.worker, "time_s": killed.time_s}
            struck |= watch.next_step(killed.time_s, killed.generation)
        shown = f"{struck['kind']} {struck.get('worker') or struck.get('workers')}"
        tell(f"{shown}: stepped again after {struck['next_step_s']} s, at step {struck['step']}")
        return struck

    def _somebody_trains(self) -> bool:
        deadline = time.monotonic() + _SOMEBODY_WITHIN_S
        while time.monotonic() < deadline:
            state = self._run.read_status()
            if state.status.terminal:
                return False
            if state.workers:
                return True
            time.sleep(_LOOK_EVERY_S)
        return False

    @contextmanager
    def _resizing(self) -> Iterator[Resize]:
        """By the service where it is one of the service's runs, else by its controller."""
        if not any(fault.workers for fault in self._faults):
            yield lambda workers: None
            return
        service = service_for(self._reference, self._storage)
        if service is not None:
            with service:
                yield lambda workers: service.scale(self._reference, workers)
            return
        import ray

        with controller_of(self._run) as controller:
            yield lambda workers: ray.get(controller.set_target.remote(workers))
