"""Everything is killed at a random moment, again and again: a run loses no more than its checkpoint interval,
and ends with the bits of one that nobody disturbed; and checkpoints are damaged at random."""

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from tests.chaos.conftest import REPEATS
from tests.integration.checkpoint_runs import (
    EVERY,
    STEPS,
    Proof,
    newest,
    proof,
    restored,
    resumed_from_memory,
    spec_of,
    uncommitted,
    wait_committed,
    wait_under_way,
    writers_of,
)
from tests.integration.saboteur import Watched, controller_pid, kill, sabotage
from tests.unit.damaging import DAMAGES
from tests.unit.test_checkpoint_damage import NEWEST, bits_before, must_be_found, three
from trainers.main import train

__all__ = ["bits_before", "three"]

MOST = 20
"""Kills; TUMBLER_CHAOS_REPEATS may ask for fewer."""
DAMAGED = 100
SNAPSHOT_EVERY = 3
PAUSE_S = 0.02
"""Per logical shard."""
STEP_S = 4 * PAUSE_S
"""Of two workers, at least."""


@dataclass
class Strike:
    """One moment at which a run dies, and what is killed."""

    rng: random.Random
    with_controller: bool
    during_commit: bool
    in_memory: bool
    """Snapshots are taken; the processes that hold them may be killed too."""
    at_step: int = 0
    newest: int = 0
    """Step of the newest checkpoint when all were dead."""
    writers_killed: bool = False
    under_way: list[int] = field(default_factory=list)
    """Steps whose parts were there and not committed."""

    def __str__(self) -> str:
        victims = "everything" if self.with_controller else "all workers"
        when = " during a commit" if self.during_commit else ""
        return f"{victims}{when}, with snapshots" if self.in_memory else f"{victims}{when}"

    def __call__(self, run: Watched) -> None:
        run.wait(lambda: len(run.members()) == 2)
        wait_committed(run, EVERY)
        members = list(run.members().values())
        victims = [controller_pid(run.run)] if self.with_controller else []
        victims += members
        self.writers_killed = self.rng.random() < 0.5  # else they write on, and nobody will ask for it
        if self.writers_killed:
            victims += [writer for pid in members for writer in writers_of(pid)]
        self._await_moment(run)
        for pid in victims:
            with suppress(ProcessLookupError):
                kill(pid)
        self.at_step = run.step()
        self.under_way = uncommitted(run.run)
        self.newest = newest(run.run)  # in this order: a controller that lives may commit between

    def _await_moment(self, run: Watched) -> None:
        time.sleep(self.rng.uniform(0, STEP_S * (STEPS - 3 * EVERY)))
        if self.during_commit:
            wait_under_way(run.run)


def strikes() -> Iterator[Strike]:
    """Of three, one leaves the controller alone, and one comes while a commit is under way."""
    for seed in range(min(MOST, int(os.environ.get(REPEATS, str(MOST))))):
        rng, in_memory = random.Random(seed), seed % 2 == 0
        yield Strike(rng, with_controller=seed % 3 != 1, during_commit=seed % 3 == 2, in_memory=in_memory)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> Proof:
    return proof(train(spec_of(storage, 1)).run)


@pytest.mark.parametrize("strike", list(strikes()), ids=str)
def test_whoever_is_killed_whenever_no_bit_is_another(
    storage: Path, undisturbed: Proof, strike: Strike
) -> None:
    checkpoint = {"keep_last": 2, "snapshot_every": SNAPSHOT_EVERY if strike.in_memory else "never"}
    spec = spec_of(storage, 2, pause_s=PAUSE_S, checkpoint=checkpoint)
    run = trained(spec, strike, storage)
    if strike.in_memory and not strike.writers_killed:
        (event,) = resumed_from_memory(run) or restored(run)
        # The newest, or the one before where members had not all finished it.
        assert event["step"] > strike.at_step - 2 * SNAPSHOT_EVERY - 1
    else:
        (event,) = restored(run)
    lost = event["steps_repeated"]
    print(
        f"\n{strike}: at step {strike.at_step}, parts of {strike.under_way} under way; "
        f"on from {event['step']}, {lost} steps done again"
    )
    if "snapshot" not in event["source"]:
        # What was under way may have been committed yet, by a controller that lives.
        assert event["step"] in (strike.newest, *strike.under_way)
    # The interval, and what was trained while the next one was written.
    assert lost < 2 * EVERY
    assert proof(run) == undisturbed
    assert not Watched(run).events("checkpoint-skipped")


def trained(spec: RunSpec, strike: Strike, storage: Path) -> RunDirectory:
    with sabotage(strike) as saboteur:
        if not strike.with_controller:
            return train(spec, on_start=saboteur.on_start).run
        with pytest.raises(ClusterUnavailable):
            train(spec, on_start=saboteur.on_start)
    return train(spec, resume=True).run


def test_no_damage_at_random_is_restored(
    three: Path, bits_before: tuple[Any, ...], tmp_path: Path, repeats: int
) -> None:
    for seed in range(min(DAMAGED, 2 * repeats)):
        rng = random.Random(seed)
        kind = rng.choice(list(DAMAGES))
        folder = Path(shutil.copytree(three, tmp_path / str(seed)))
        damaged = DAMAGES[kind](folder, NEWEST, rng)
        must_be_found(folder, damaged, bits_before)
        shutil.rmtree(folder)
