"""The whole head is killed at a random moment, again and again: a run of the service goes on by itself, loses
no more than its snapshot or checkpoint interval, and ends with the bits of one that nobody disturbed."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.deployment import Deployment, deployment
from cluster.daemons import Daemon, Household, start_ticks
from cluster.head import Head
from tests.chaos.conftest import REPEATS
from tests.chaos.test_training_survives import submit
from tests.integration.checkpoint_runs import Proof, newest, proof, uncommitted, wait_under_way, writers_of
from tests.integration.processes import wait_gone
from tests.integration.saboteur import Watched
from tests.integration.shipped import paced_code, paced_spec
from trainers.checkpoints.held import folder_of, held_in
from trainers.recorder import newest_step

MOST = 20
"""Kills; TUMBLER_CHAOS_REPEATS may ask for fewer."""
KILLS_OF_A_RUN = 5
STEPS, EVERY, SNAPSHOT_EVERY = 240, 10, 3
PAUSE_S = 0.02
"""Per logical shard."""
STEP_S = 4 * PAUSE_S
"""Of two workers, at least."""
NUM_CPUS = 3
LIFE_S = 120.0


@dataclass
class Strike:
    """One moment at which a head dies."""

    seed: int
    at_step: int = 0
    newest: int = 0
    """Step of the newest checkpoint when all were dead."""
    held: int = 0
    """Step of the newest snapshot that was whole then and on record; 0 where there was none."""
    under_way: list[int] = field(default_factory=list)
    """Steps whose parts were there and not committed."""

    @property
    def machine(self) -> bool:
        """With a machine goes what its writer processes hold; with a head alone they stay."""
        return self.seed % 2 == 0

    @property
    def during_commit(self) -> bool:
        return self.seed % 3 == 2

    def __str__(self) -> str:
        return ("the machine" if self.machine else "the head") + (
            " during a commit" if self.during_commit else ""
        )

    def __call__(self, service: Deployment, run: Watched) -> None:
        rng = random.Random(self.seed)
        head = Head.recorded(service.home)
        assert head is not None
        writers = {writer for pid in run.members().values() for writer in writers_of(pid)}
        assert len(writers) == 2
        household, spared = head.household(), set() if self.machine else writers
        victims = household.look()  # before the moment, which may be short
        self._await_moment(rng, run)
        while victims := [daemon for daemon in victims if daemon.pid not in spared]:
            kill_all(victims, rng)
            victims = household.look()  # what was started meanwhile
        if self.machine:
            assert not wait_gone(writers, 10)
        else:
            assert all(start_ticks(pid) for pid in writers)
        assert not run.run.read_status().status.terminal, "the run was too short for its kills"
        self.at_step = newest_step(run.run)
        self.under_way = uncommitted(run.run)
        self.newest = newest(run.run)
        steps = Counter(held.step for held in held_in(folder_of(run.run.path)) if held.step <= self.at_step)
        self.held = max((step for step, holders in steps.items() if holders == len(writers)), default=0)

    def _await_moment(self, rng: random.Random, run: Watched) -> None:
        time.sleep(rng.uniform(0, 2 * EVERY * STEP_S))
        if self.during_commit:
            wait_under_way(run.run)


def kill_all(daemons: list[Daemon], rng: random.Random) -> None:
    """In an order that chance decides."""
    rng.shuffle(daemons)
    for daemon in daemons:
        if daemon.is_alive():
            with suppress(ProcessLookupError):
                os.kill(daemon.pid, signal.SIGKILL)


def lives() -> list[list[int]]:
    """The seeds of the kills, by run."""
    seeds = list(range(min(MOST, int(os.environ.get(REPEATS, str(MOST))))))
    return [seeds[first : first + KILLS_OF_A_RUN] for first in range(0, len(seeds), KILLS_OF_A_RUN)]


def spec_of(name: str, code: Path, *, pause_s: float) -> dict[str, Any]:
    """Nothing about `retry`: losses of infrastructure cost nothing while there are new steps between them."""
    saved = {"every": EVERY, "snapshot_every": SNAPSHOT_EVERY}
    return paced_spec(name, code, pause_s=pause_s, steps=STEPS, checkpoint=saved)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("service"), num_cpus=NUM_CPUS) as deployed:
        yield deployed
    left = Household("TUMBLER_HOME", str(deployed.home)).look()
    assert not left, "of all heads, the service and the writer processes"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paced_code(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="module")
def undisturbed(service: Deployment, code: Path, tmp_path_factory: pytest.TempPathFactory) -> Proof:
    submit(service, tmp_path_factory.mktemp("undisturbed"), spec_of("undisturbed", code, pause_s=0.0))
    service.tumbler("wait", "undisturbed", timeout_s=LIFE_S)
    return proof(service.run_directory("undisturbed"))


@pytest.mark.parametrize("seeds", lives(), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_a_head_is_killed_whenever_and_no_bit_is_another(
    service: Deployment, code: Path, undisturbed: Proof, tmp_path: Path, seeds: list[int]
) -> None:
    name = f"struck-{seeds[0]}"
    submit(service, tmp_path, spec_of(name, code, pause_s=PAUSE_S))
    run = Watched(service.run_directory(name))
    run.wait(run.run.status_path.is_file, LIFE_S)
    before = service.service_pid()
    at_step = 0
    for attempt, seed in enumerate(seeds, start=1):
        wait_for_news(run, attempt, at_step)
        strike = Strike(seed)
        strike(service, run)
        at_step = strike.at_step
        service.tumbler("up", "--num-cpus", str(NUM_CPUS))
        assert service.service_pid() == before, "the service lives on"
        event = first_generation(run, attempt + 1)
        lost = event["steps_repeated"]
        source = event["source"].rpartition("/")[2]
        print(
            f"\n{strike}: at step {at_step}, newest checkpoint {strike.newest}, parts of {strike.under_way} "
            f"under way, snapshot {strike.held}; on from {source}, {lost} steps done again"
        )
        assert lost == at_step - event["step"]
        if strike.machine:
            assert (event["step"], strike.held) == (strike.newest, 0)
            # The interval, and what was trained while the next one was written.
            assert lost < 2 * EVERY
        else:
            assert event["step"] >= max(strike.newest, strike.held)
            # The newest snapshot, or the one before where members had not all finished it.
            assert lost <= 2 * SNAPSHOT_EVERY
    service.tumbler("wait", name, timeout_s=LIFE_S)
    ended = service.run(name)
    assert (ended["status"], ended["attempt"]) == ("SUCCEEDED", 1 + len(seeds))
    assert proof(run.run) == undisturbed
    assert not run.events("checkpoint-skipped")


def wait_for_news(run: Watched, attempt: int, at_step: int) -> None:
    """Until this attempt committed a checkpoint and did a step that no other one did."""
    run.wait(
        lambda: (
            any(event["attempt"] == attempt for event in run.events("checkpoint-committed"))
            and run.step() > at_step
        ),
        LIFE_S,
    )


def first_generation(run: Watched, attempt: int) -> dict[str, Any]:
    """The event of it, which is awaited."""
    found: list[dict[str, Any]] = []

    def formed() -> bool:
        found[:] = [event for event in run.events("generation-started") if event["attempt"] == attempt]
        return bool(found)

    run.wait(formed, LIFE_S)
    return found[0]
