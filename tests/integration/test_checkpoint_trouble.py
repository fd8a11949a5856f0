"""Storage or a writer fails while checkpoints are written: training goes on, and the next one heals."""

import os
import shutil
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.domain.run_directory import RunDirectory
from tests.integration.checkpoint_runs import (
    EVERY,
    STEPS,
    Proof,
    committed,
    proof,
    spec_of,
    uncommitted,
    wait_committed,
    writers_of,
)
from tests.integration.saboteur import Watched, kill, sabotage
from trainers.main import train

PAUSE_S = 0.02


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> Proof:
    return proof(train(spec_of(storage, 1)).run)


def skipped_steps(run: Watched) -> list[int]:
    return [event["step"] for event in run.events("checkpoint-skipped")]


def must_have_trained_on(run: RunDirectory, undisturbed: Proof) -> None:
    watched = Watched(run)
    assert not watched.events("worker-lost")
    assert [event["steps_repeated"] for event in watched.events("generation-started")] == [0]
    assert proof(run) == undisturbed


def put_file_in_place_of(folder: Path, aside: Path) -> None:
    folder.rename(aside)
    while True:  # a writer that was at work may have made the folder anew
        with suppress(FileExistsError):
            os.close(os.open(folder, os.O_CREAT | os.O_EXCL))
            return
        shutil.rmtree(folder)


def test_a_place_that_cannot_be_written_costs_checkpoints_and_nothing_else(
    storage: Path, tmp_path: Path, undisturbed: Proof
) -> None:
    location = tmp_path / "elsewhere"

    def plan(run: Watched) -> None:
        wait_committed(run, EVERY)
        folder = location / run.run.name
        put_file_in_place_of(folder, tmp_path / "aside")
        run.wait(lambda: len(skipped_steps(run)) >= 2)
        folder.unlink()
        (tmp_path / "aside").rename(folder)

    spec = spec_of(storage, 2, pause_s=PAUSE_S, checkpoint={"location": str(location)})
    with sabotage(plan) as saboteur:
        run = train(spec, on_start=saboteur.on_start).run
    watched = Watched(run)
    skipped = skipped_steps(watched)
    assert set(Counter(skipped).values()) == {1}
    for event in watched.events("checkpoint-skipped"):
        assert str(location / run.name) in event["message"]
        assert event["message"].endswith(("Not a directory", "File exists"))
        assert "\n" not in event["message"]
    steps = range(EVERY, STEPS + 1, EVERY)
    assert list(committed(run)) == [step for step in steps if step not in skipped]
    assert max(committed(run)) == STEPS
    must_have_trained_on(run, undisturbed)


def test_a_writer_that_is_killed_in_the_middle_costs_at_most_its_checkpoint(
    storage: Path, undisturbed: Proof
) -> None:
    lost_at: list[int] = []

    def plan(run: Watched) -> None:
        wait_committed(run, EVERY)
        (writer,) = writers_of(run.members()["w2"])
        kill(writer, signal.SIGSTOP)  # so that it is in the middle for sure
        run.wait(lambda: bool(uncommitted(run.run)))
        lost_at.extend(uncommitted(run.run))
        kill(writer)
        run.wait(lambda: bool(skipped_steps(run)))

    with sabotage(plan) as saboteur:
        run = train(spec_of(storage, 2, pause_s=PAUSE_S), on_start=saboteur.on_start).run
    watched = Watched(run)
    (event,) = watched.events("checkpoint-skipped")
    assert [event["step"]] == lost_at
    assert "the process that writes checkpoints ended" in event["message"]
    assert list(committed(run)) == [step for step in range(EVERY, STEPS + 1, EVERY) if step != event["step"]]
    must_have_trained_on(run, undisturbed)


def test_writers_that_are_killed_all_the_time_do_not_disturb_training(
    storage: Path, undisturbed: Proof
) -> None:
    killed: list[int] = []

    def plan(run: Watched) -> None:
        run.wait(lambda: len(run.members()) == 2)
        members = list(run.members().values())
        while run.step() < STEPS // 2:  # it is a moment older than the run
            time.sleep(0.02)
            for pid in members:
                for writer in writers_of(pid):
                    with suppress(ProcessLookupError):
                        kill(writer)
                        killed.append(writer)

    with sabotage(plan) as saboteur:
        run = train(spec_of(storage, 2, pause_s=PAUSE_S), on_start=saboteur.on_start).run
    assert len(killed) > 2
    skipped = skipped_steps(Watched(run))
    assert len(skipped) == len(set(skipped))
    assert {*committed(run), *skipped} == set(range(EVERY, STEPS + 1, EVERY))
    assert max(committed(run)) == STEPS
    must_have_trained_on(run, undisturbed)
