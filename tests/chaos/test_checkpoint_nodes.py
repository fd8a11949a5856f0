"""All nodes but the head die at a random moment: the run waits for new ones and goes on by itself."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.conftest import REPEATS
from tests.integration.checkpoint_runs import EVERY, STEPS, proof, spec_of, wait_committed, writers_of
from tests.integration.raylets import Raylets, raylets
from tests.integration.saboteur import Watched, kill

MOST = 20
"""Times; TUMBLER_CHAOS_REPEATS may ask for fewer."""
PAUSE_S = 0.03
"""Per logical shard."""
RUN_S = 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Raylets]:
    with raylets(2) as found:
        yield found


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(cluster: Raylets, storage: Path) -> object:
    return proof(over(cluster.drive(spec_of(storage, 1, name="undisturbed"))).run)


def over(run: Watched) -> Watched:
    run.wait(lambda: run.run.read_status().status.terminal, RUN_S)
    return run


@pytest.mark.parametrize("seed", range(min(MOST, int(os.environ.get(REPEATS, str(MOST))))))
def test_all_nodes_but_the_head_die_and_no_bit_is_another(
    cluster: Raylets, storage: Path, undisturbed: object, seed: int
) -> None:
    """With a machine goes what its writer processes hold; with a raylet alone they stay."""
    rng = random.Random(seed)
    machines = seed % 2 == 0
    checkpoint = {"snapshot_every": 3}
    run = cluster.drive(spec_of(storage, 2, name=f"nodes-{seed}", pause_s=PAUSE_S, checkpoint=checkpoint))
    run.wait(lambda: len(run.members()) == 2, RUN_S)
    wait_committed(run, EVERY)
    time.sleep(rng.uniform(0, 4 * PAUSE_S * (STEPS - 3 * EVERY)))
    holders = [writer for pid in run.members().values() for writer in writers_of(pid)] if machines else []
    cluster.kill(*list(cluster.nodes))
    for writer in holders:
        with suppress(ProcessLookupError):
            kill(writer)
    at_step = run.step()
    cluster.at_least(2)
    over(run)
    event = next(e for e in run.events("generation-started") if "step" in e["source"])
    print(f"\n{'machines' if machines else 'raylets'} lost at step {at_step}: on from {event['source']}")
    assert event["steps_repeated"] < (2 * EVERY if machines else EVERY)
    assert proof(run.run) == undisturbed
