"""One run in a storm of kills and resizes, at moments that a seed decides; it takes the same way as ever."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.domain.audit import AuditReport
from orchestrator.domain.spec import RunSpec
from tests.chaos.one_spec import STEPS, audited, must_be_the_same, spec_of, write_corpus
from tests.integration.saboteur import Watched, sabotage, set_target
from trainers.main import train

KILLS, RESIZES = 10, 6
MAX_WORKERS = 4
CALM_STEPS = 20
"""Before the first fault and after the last one."""
PHASE_S = 0.3
"""More than a step: a fault strikes anywhere between two."""
AFTERSHOCK_S = 2.0
"""The second of two kills comes within this time: while the group recovers, or a replacement starts."""
RUN_S = 900.0


@dataclass(frozen=True)
class Fault:
    step: int
    """Strikes when the status shows this step, and `phase_s` later."""
    phase_s: float
    target: int | None
    """The new number of workers; None is a kill."""
    aftershock_s: float | None = None
    """Seconds until another worker is killed."""


def storm(seed: int) -> list[Fault]:
    rng = random.Random(seed)
    kills_left = KILLS
    faults = []
    while kills_left:
        again = kills_left > 1 and rng.random() < 0.3
        faults.append((None, rng.uniform(0, AFTERSHOCK_S) if again else None))
        kills_left -= 2 if again else 1
    faults += [(rng.randint(1, MAX_WORKERS), None) for _ in range(RESIZES)]
    rng.shuffle(faults)
    steps = sorted(rng.sample(range(CALM_STEPS, STEPS - CALM_STEPS), len(faults)))
    return [
        Fault(step, rng.uniform(0, PHASE_S), target, aftershock_s)
        for step, (target, aftershock_s) in zip(steps, faults, strict=True)
    ]


@dataclass
class Striker:
    """Works through a storm beside the run."""

    faults: list[Fault]
    rng: random.Random
    done: list[str] = field(default_factory=list)

    def strike(self, run: Watched) -> None:
        for fault in self.faults:
            run.wait(lambda step=fault.step: run.step() >= step, timeout_s=RUN_S)
            time.sleep(fault.phase_s)
            if fault.target is not None:
                self._resize(run, fault.target)
                continue
            self._kill(run)
            if fault.aftershock_s is not None:
                time.sleep(fault.aftershock_s)
                self._kill(run)

    def _resize(self, run: Watched, target: int) -> None:
        set_target(run, target)
        self.done.append(f"{run.step()}: {target} workers")

    def _kill(self, run: Watched) -> None:
        """Any worker that lives, whatever it is at."""
        killed: list[str] = []

        def one() -> bool:
            gone = {
                event["worker"] for kind in ("worker-lost", "worker-retired") for event in run.events(kind)
            }
            alive = [event for event in run.events("worker-started") if event["worker"] not in gone]
            for event in self.rng.sample(alive, len(alive)):
                with suppress(ProcessLookupError):
                    os.kill(event["pid"], signal.SIGKILL)
                    killed.append(event["worker"])
                    return True
            return False

        run.wait(one)
        self.done.append(f"{run.step()}: {killed[0]} killed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    folder = tmp_path_factory.mktemp("storm")
    write_corpus(folder / "corpus")
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> AuditReport:
    return audited(train(stormy(folder, "calm")).run)


def stormy(folder: Path, name: str) -> RunSpec:
    patience = {"max_losses_without_progress": 2 * KILLS}
    return spec_of(folder / "corpus", folder, name, workers=1, retry=patience)


def seeds() -> Iterator[int]:
    """A storm for every ten faults that are asked for."""
    yield from range(-(-int(os.environ.get("TUMBLER_CHAOS_REPEATS", "50")) // KILLS))


@pytest.mark.parametrize("seed", list(seeds()))
def test_a_storm_of_kills_and_resizes_changes_no_bit(
    folder: Path, undisturbed: AuditReport, seed: int
) -> None:
    striker = Striker(storm(seed), random.Random(seed))
    begun = time.monotonic()
    with sabotage(striker.strike) as saboteur:
        result = train(stormy(folder, f"storm-{seed}"), on_start=saboteur.on_start)
    generations = Watched(result.run).events("generation-started")
    restored = [event for event in generations if "step" in event["source"]]
    sizes = sorted({len(event["workers"]) for event in generations})
    print(
        f"\nstorm {seed}: {', '.join(striker.done)}\n{time.monotonic() - begun:.0f} s, "
        f"{len(generations)} generations of {sizes} workers, "
        f"{sum(event['steps_repeated'] for event in generations)} steps repeated, "
        f"{len(restored)} times from a checkpoint"
    )
    assert len([fault for fault in striker.done if "killed" in fault]) == KILLS
    must_be_the_same(audited(result.run), undisturbed)
