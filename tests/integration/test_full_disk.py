"""A disk that fills up holds records and checkpoints back; training goes on, and all is well when there is
room."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.journal import read_journal
from tests.integration.saboteur import Watched, sabotage
from trainers.main import train


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(os.urandom(4096))
    return filler


def test_training_goes_on_while_the_disk_is_full_and_nothing_is_missing_when_it_is_not(
    paced: Any, small_disk: Path
) -> None:
    full_from_to: list[float] = []

    def plan(run: Watched) -> None:
        run.wait(lambda: run.step() >= 25)
        filler = fill(small_disk)
        full_from_to.append(time.time())
        time.sleep(3)
        full_from_to.append(time.time())
        filler.unlink()
        run.wait(lambda: bool(run.events("storage-healed")))

    spec = paced(
        workers=1, model={"pause_s": 0.005}, checkpoint={"storage": str(small_disk)}, train={"steps": 200}
    )
    with sabotage(plan) as saboteur:
        result = train(spec, on_start=saboteur.on_start)
    points = read_journal(result.run.outbox, "metrics")
    meanwhile = [p for p in points if "kind" not in p and full_from_to[0] < p["time"] < full_from_to[1]]
    assert len(meanwhile) > 20
    assert "No space left" in Watched(result.run).events("checkpoint-skipped")[0]["message"]
    assert result.state.step == 200
    assert audit(result.run).ok
