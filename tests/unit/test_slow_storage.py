"""Storage that is slower than checkpoints are due holds training up once, not each time."""

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpoints.manifest import PartFile
from tests.unit.saving import SHARDS, WriterHere, after
from trainers.checkpoints.arena import SLOTS, Arena
from trainers.checkpoints.copying import Origin
from trainers.checkpoints.saver import Saver
from trainers.elastic.messages import CheckpointFailed, PartsWritten

ORIGIN = Origin("w0", 1, 1, 0, 1)
WITHIN_S = 10.0


class SlowStorage(WriterHere):
    """Writes nothing until it is told to."""

    def __init__(self) -> None:
        self.written: Future[tuple[PartFile, ...]] = Future()

    def write(self, place: str, files: Sequence[dict[str, Any]]) -> Future[tuple[PartFile, ...]]:
        return self.written


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each checkpoint would have waited for memory at most; none really waits."""
    asked: list[float] = []
    take = Arena.take

    def taken(arena: Arena, timeout_s: float) -> int | None:
        asked.append(timeout_s)
        return take(arena, 0.0)

    monkeypatch.setattr(Arena, "take", taken)
    return asked


def test_training_waits_once_for_storage_that_does_not_keep_up(tmp_path: Path, waits: list[float]) -> None:
    storage = SlowStorage()
    saver = Saver(after(1), str(tmp_path), SHARDS, lambda saved: None, storage)
    for _ in range(SLOTS):
        saver.begin(ORIGIN)
    late = [saver.begin(ORIGIN) for _ in range(3)]
    assert all(isinstance(each.result(WITHIN_S), CheckpointFailed) for each in late)
    assert [wait > 0 for wait in waits] == [True] * SLOTS + [True, False, False]
    saver._copying.submit(lambda: None).result(WITHIN_S)  # all copies are made
    storage.written.set_result(())
    assert isinstance(saver.begin(ORIGIN).result(WITHIN_S), PartsWritten)
    saver.begin(ORIGIN)
    assert [wait > 0 for wait in waits[-2:]] == [False, True]
    saver.close()


def test_the_last_checkpoint_waits_for_those_before_it(tmp_path: Path, waits: list[float]) -> None:
    saver = Saver(after(1), str(tmp_path), SHARDS, lambda saved: None, WriterHere())
    assert isinstance(saver.finish(ORIGIN), PartsWritten)
    assert waits[0] > 60
    saver.close()
