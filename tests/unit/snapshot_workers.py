"""Workers that take snapshots as members do and can be lost, and a run whose snapshots they hold."""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.unit.saving import SHARDS, SPEC, after, train
from trainers.checkpoints.copying import Origin
from trainers.checkpoints.held import Holding, held_in
from trainers.checkpoints.saver import Saver
from trainers.checkpoints.writer import Writer

WITHIN_S = 20.0


@pytest.fixture
def holding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Holding]:
    """Of a run that is going on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "status.json").write_text(
        '{"run": "run", "attempt": 1, "status": "RUNNING", "updated": "2030-01-01T00:00:00.000Z"}'
    )
    found = Holding(run_folder, SPEC)
    yield found
    (run_folder / "status.json").unlink()  # then nobody stays
    until(lambda: not processes(found))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def processes(holding: Holding) -> list[int]:
    """Writer processes that say they hold something."""
    return [int(path.stem) for path in holding.folder.glob("*.json") if Path("/proc", path.stem).exists()]


class Worker:
    """Takes snapshots as a member does, and can be lost."""

    def __init__(
        self,
        holding: Holding,
        rank: int = 0,
        size: int = 1,
        *,
        generation: int = 1,
        wards: tuple[int, ...] = (),
        writer: Writer | None = None,
    ) -> None:
        self.origin = Origin(f"w{rank}", 1, generation, rank, size, wards=wards)
        self._holding = holding
        self._writer = writer or Writer()
        self.state = after(0)
        self.saver = Saver(
            self.state, str(holding.run_folder), SHARDS, lambda saved: None, self._writer, holding
        )

    def train_to(self, step: int) -> None:
        while self.state.step < step:
            torch.manual_seed(self.state.step)
            train(self.state)

    def snapshot(self, *steps: int) -> None:
        for step in steps:
            self.train_to(step)
            # Where the writer process has said in its file that it holds one, its answer may be on its way.
            until(lambda: self.saver.snapshot(self.origin))
            until(partial(self._holds, step))

    def _holds(self, step: int) -> bool:
        own = f"/proc/{self._writer.pid}/"
        mine = [held for held in held_in(self._holding.folder) if held.memory.startswith(own)]
        return step in {held.step for held in mine}

    def lose(self) -> None:
        """As SIGKILL does: the writer process sees its input end without a word."""
        self.state.settle()
        process = self._writer._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
