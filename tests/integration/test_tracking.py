"""TensorBoard's files of a real run, one of whose workers is killed on the way."""

import time
from pathlib import Path
from typing import Any

from api.history import read_points
from tests.integration.saboteur import Watched, kill_ranks, sabotage
from tests.unit.test_tracking import shown
from trainers.main import train

PACE = {"pause_s": 0.02}


def told(run: Watched) -> list[int]:
    return [step for step, _ in shown(run.run.path / "tensorboard", "train/loss")]


def tracking_processes(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"trainers.tracking.process" in words and str(folder).encode() in words:
            found.append(int(path.parent.name))
    return found


def test_tensorboard_has_each_step_once_whatever_died(paced: Any) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: run.step() >= 10 and len(told(run)) > 5)
        kill_ranks(run, 1)

    spec = paced(workers="1:2", model=PACE, train={"steps": 150}, log={"tensorboard": True})
    with sabotage(plan) as saboteur:
        result = train(spec, on_start=saboteur.on_start)
    watched = Watched(result.run)
    until_s = time.monotonic() + 30
    while tracking_processes(result.run.path) and time.monotonic() < until_s:
        time.sleep(0.1)
    assert tracking_processes(result.run.path) == [], "it ends by itself when it has told everything"
    curve = shown(result.run.path / "tensorboard", "train/loss")
    points = read_points(result.run)
    assert [step for step, _ in curve] == [point["step"] for point in points] == list(range(1, 151))
    assert all(abs(value - point["loss"]) < 1e-5 for (_, value), point in zip(curve, points, strict=True))
    assert not watched.events("tracker-failed")
