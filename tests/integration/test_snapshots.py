"""Runs that lose all their workers at once go on from the memory of their nodes, with the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.domain.run_directory import RunDirectory
from tests.integration.checkpoint_runs import (
    EVERY,
    Proof,
    proof,
    restored,
    resumed_from_memory,
    spec_of,
    wait_committed,
    writers_of,
)
from tests.integration.processes import wait_gone
from tests.integration.saboteur import Watched, controller_pid, kill, sabotage
from trainers.main import train

SNAPSHOT_EVERY = 4
FAR = 2 * EVERY
"""Steps between checkpoints: halfway to the next one, some snapshots are newer than the one before."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> Proof:
    return proof(train(spec_of(storage, 1)).run)


def killer(*, with_controller: bool) -> tuple[Callable[[Watched], None], set[int], list[int]]:
    """Kills everything halfway between two checkpoints; also the writers there were, and the step."""
    writers: set[int] = set()
    steps: list[int] = []

    def strike(run: Watched) -> None:
        run.wait(lambda: len(run.members()) == 2)
        wait_committed(run, FAR)
        controller = [controller_pid(run.run)] if with_controller else []
        members = list(run.members().values())
        writers.update(writer for pid in members for writer in writers_of(pid))
        run.wait(lambda: FAR // 4 <= run.step() % FAR <= FAR // 2)
        for pid in (*controller, *members):
            kill(pid)
        steps.append(run.step())

    return strike, writers, steps


@pytest.mark.parametrize("with_controller", [False, True], ids=["workers", "everything"])
def test_who_loses_all_workers_goes_on_from_the_memory_of_the_node(
    storage: Path, undisturbed: Proof, with_controller: bool
) -> None:
    checkpoint = {"every": FAR, "link_every": EVERY, "snapshot_every": SNAPSHOT_EVERY}
    spec = spec_of(storage, 2, pause_s=0.05, checkpoint=checkpoint)
    strike, writers, steps = killer(with_controller=with_controller)
    with sabotage(strike) as saboteur:
        if with_controller:
            with pytest.raises(ClusterUnavailable):
                train(spec, on_start=saboteur.on_start)
            run = train(spec, resume=True).run
        else:
            run = train(spec, on_start=saboteur.on_start).run
    (event,) = resumed_from_memory(run)
    assert restored(run) == []
    assert event["step"] % SNAPSHOT_EVERY == 0
    assert event["step"] >= steps[0] - 2 * SNAPSHOT_EVERY
    assert proof(run) == undisturbed
    assert len(writers) == 2
    assert not wait_gone(writers, 10), "nobody holds what is of no use any more"


@pytest.mark.long
def test_by_itself_a_run_takes_a_snapshot_about_every_second(storage: Path, undisturbed: Proof) -> None:
    """Without a word in the spec: checkpoints are far away, and only seconds are lost."""
    checkpoint = {"every": 1000, "link_every": EVERY, "snapshot_every": "auto"}
    spec = spec_of(storage, 2, pause_s=0.03, checkpoint=checkpoint)

    def kill_all(run: Watched) -> None:
        run.wait(lambda: run.step() >= 40)
        for pid in run.members().values():
            kill(pid)

    with sabotage(kill_all) as saboteur:
        run: RunDirectory = train(spec, on_start=saboteur.on_start).run
    (event,) = resumed_from_memory(run)
    assert event["steps_repeated"] < 20
    assert proof(run) == undisturbed
