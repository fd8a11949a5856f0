"""Snapshots in the memory of a node outlive their workers, are never torn, and bring the same bits back."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.checkpoints.manifest import PartFile
from tests.unit.gang import gang
from tests.unit.saving import OTHER_SPEC, SPEC, after, bits, train
from tests.unit.snapshot_workers import WITHIN_S, Worker, until
from trainers.checkpoints.held import Held, Holding, held_in
from trainers.checkpoints.snapshots import restore_snapshot
from trainers.checkpoints.writer import Writer
from trainers.elastic.group import ElasticGroup
from trainers.elastic.state import TrainState


def trained(steps: int) -> TrainState:
    state = after(0)
    state.metrics = {}
    for step in range(steps):
        torch.manual_seed(step)
        train(state)
    return state


def restored(
    holding: Holding, size: int = 1, *, after_step: int = 0, newest: int = 1000
) -> tuple[list[TrainState], list[Any]]:
    """The states of the members of a new generation, and what each says of it."""
    states = [after(0, seed=rank) for rank in range(size)]

    def work(group: ElasticGroup) -> Any:
        return restore_snapshot(group, states[group.rank], holding, after=after_step, newest=newest)

    return states, gang(size, work)


@pytest.mark.slow
def test_the_bits_of_a_worker_that_was_killed_come_back(holding: Holding, tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from tests.unit.test_snapshots import Worker
        from trainers.checkpoints.held import Holding
        worker = Worker(Holding(Path(sys.argv[1]), sys.argv[2]))
        worker.snapshot(3, 5)
        print("held", flush=True)
        time.sleep(60)
    """)
    worker = subprocess.Popen(
        [sys.executable, "-c", script, str(holding.run_folder), SPEC],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert worker.stdout is not None
    with worker.stdout:
        assert worker.stdout.readline() == b"held\n"
        worker.kill()
        worker.wait()
    (state,), ((where, damaged),) = restored(holding)
    assert where == "snapshot of step 5 in memory"
    assert damaged == []
    assert bits(state) == bits(trained(5))
    torch.manual_seed(5)
    train(state)
    assert bits(state) == bits(trained(6))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.slow
def test_any_number_of_members_restores_what_three_held(holding: Holding, size: int) -> None:
    workers = [Worker(holding, rank, 3) for rank in range(3)]
    for worker in workers:
        worker.snapshot(2)
    for worker in workers:
        worker.lose()
    states, said = restored(holding, size)
    assert {where for where, _ in said} == {"snapshot of step 2 in memory"}
    assert all(bits(state) == bits(trained(2)) for state in states)


def test_the_newest_step_that_all_have_finished_is_the_one(holding: Holding) -> None:
    first, second = Worker(holding, 0, 2), Worker(holding, 1, 2)
    first.snapshot(2, 4)
    second.snapshot(2)
    (state,), ((where, _),) = restored(holding)
    assert where == "snapshot of step 2 in memory"
    assert bits(state) == bits(trained(2))
    second.snapshot(4)
    assert restored(holding)[1][0][0] == "snapshot of step 4 in memory"
    # What is not on record yet is of no use, and a checkpoint of the same step is as good.
    assert restored(holding, newest=3)[1][0][0] == "snapshot of step 2 in memory"
    assert restored(holding, newest=3, after_step=2)[1] == [(None, [])]
    for worker in (first, second):
        worker.saver.close()


def test_parts_that_a_worker_on_another_node_holds_are_enough(holding: Holding) -> None:
    lost, guardian = Worker(holding, 0, 2), Worker(holding, 1, 2, wards=(0,))
    lost.train_to(2)
    guardian.snapshot(2)
    states, said = restored(holding, 2)
    assert said[0][0] == "snapshot of step 2 in memory"
    assert all(bits(state) == bits(trained(2)) for state in states)
    guardian.saver.close()


def test_a_snapshot_of_another_spec_is_not_looked_at(holding: Holding) -> None:
    worker = Worker(holding)
    worker.snapshot(2)
    assert restored(Holding(holding.run_folder, OTHER_SPEC))[1] == [(None, [])]
    worker.saver.close()


def test_a_flipped_bit_is_found_and_the_one_before_taken(holding: Holding) -> None:
    worker = Worker(holding)
    worker.snapshot(2, 4)
    newest = max(held_in(holding.folder), key=lambda held: held.step)
    flip(newest)
    (state,), ((where, damaged),) = restored(holding)
    assert where == "snapshot of step 2 in memory"
    assert [one for one, _ in damaged] == ["snapshot of step 4 in memory"]
    assert "does not match its checksum" in damaged[0][1]
    assert bits(state) == bits(trained(2))
    worker.saver.close()


def flip(held: Held) -> None:
    file = os.open(held.memory, os.O_RDWR)
    place = held.pieces[0].start + 5
    (octet,) = os.pread(file, 1, place)
    os.pwrite(file, bytes([octet ^ 16]), place)
    os.close(file)


def test_what_is_not_to_be_trusted_is_forgotten(holding: Holding) -> None:
    worker = Worker(holding)
    worker.snapshot(2, 4)
    worker.saver.forget(3)
    until(lambda: [held.step for held in held_in(holding.folder)] == [2])
    worker.saver.close()


class SlowStorage(Writer):
    """Writes nothing until it is told to; snapshots are held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written: Future[tuple[PartFile, ...]] = Future()

    def write(self, place: str, files: Sequence[dict[str, Any]]) -> Future[tuple[PartFile, ...]]:
        return self.written


def test_while_storage_is_slow_snapshots_go_on_in_turn(holding: Holding) -> None:
    worker = Worker(holding, writer=(storage := SlowStorage()))
    worker.train_to(2)
    saved = worker.saver.begin(worker.origin)
    worker.snapshot(4, 6, 8, 10)
    assert sorted(held.step for held in held_in(holding.folder)) == [8, 10]
    again = worker.saver.begin(worker.origin)
    assert not saved.done()
    worker.snapshot(12)
    # Two slots are being written now, and the third one holds what must stay.
    worker.train_to(14)
    assert not worker.saver.snapshot(worker.origin)
    storage.written.set_result(())
    assert [saved.result(WITHIN_S).step, again.result(WITHIN_S).step] == [2, 10]
    worker.saver.close()
