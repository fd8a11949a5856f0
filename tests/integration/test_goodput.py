"""Where the worker-seconds of real runs went: with a kill, resizes and checkpoints; a controller lost."""

from datetime import datetime
from typing import Any

import pytest

from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.domain.goodput import RunGoodput, goodput
from orchestrator.domain.goodput_history import Bucket
from orchestrator.domain.journal import read_journal
from tests.integration.saboteur import (
    Watched,
    controller_pid,
    kill,
    kill_ranks,
    sabotage,
    set_target,
)
from trainers.main import train

PACE = {"pause_s": 0.02}


def at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def seconds_of_places(run: Watched) -> float:
    """As a person would count them: from placed to gone, or to the last that was heard of the attempt."""
    events, heard = run.events(), last_heard(run)
    total = 0.0
    for placed in (event for event in events if event["kind"] == "worker-placed"):
        attempt, worker = placed["attempt"], placed["worker"]
        ends = [
            at(event)
            for event in events
            if (event["kind"], event["attempt"], event.get("worker")) == ("worker-gone", attempt, worker)
        ]
        total += (ends[0] if ends else heard[attempt]) - at(placed)
    return total


def last_heard(run: Watched) -> dict[int, float]:
    """Attempt -> the time of its newest event or step."""
    found: dict[int, float] = {}
    for event in run.events():
        found[event["attempt"]] = max(found.get(event["attempt"], 0.0), at(event))
    attempt = 1
    for point in read_journal(run.run.outbox, "metrics"):
        attempt = point["attempt"] if point.get("kind") == "attempt" else attempt
        found[attempt] = max(found[attempt], point.get("time", 0.0))
    return found


def must_add_up(run: Watched) -> RunGoodput:
    report = goodput(run.run)
    assert sum(report.buckets.values()) == pytest.approx(report.worker_s, rel=1e-3)
    assert report.worker_s == pytest.approx(seconds_of_places(run), rel=1e-3)
    return report


@pytest.mark.long
def test_a_run_with_a_kill_resizes_and_checkpoints_adds_up(paced: Any) -> None:
    living: list[RunGoodput] = []

    def plan(run: Watched) -> None:
        run.wait(lambda: run.step() >= 25 and len(run.members()) == 2)
        living.append(goodput(run.run))
        kill_ranks(run, 1)
        run.wait(lambda: len(run.events("worker-lost")) == 1)
        run.wait(lambda: len(run.members()) == 2)
        set_target(run, 3)
        run.wait(lambda: len(run.members()) == 3)
        set_target(run, 1)
        run.wait(lambda: len(run.events("worker-retired")) == 2)

    spec = paced(workers="1:2", model=PACE, train={"steps": 300})
    with sabotage(plan) as saboteur:
        result = train(spec, on_start=saboteur.on_start)
    run = Watched(result.run)
    report = must_add_up(run)
    assert living[0].over is False
    assert 0 < living[0].worker_s < report.worker_s
    spent = report.buckets
    assert spent[Bucket.START] > 1.0, "four processes were started"
    assert 0 < spent[Bucket.RECOVERY] < spent[Bucket.START]
    assert 0 < spent[Bucket.RESIZE] < spent[Bucket.START]
    assert spent[Bucket.CHECKPOINT] > 0
    assert spent[Bucket.REPEATED] == 0
    assert (report.steps, report.steps_repeated) == (300, 0)
    assert spent[Bucket.PRODUCTIVE] > 0.5 * report.worker_s


@pytest.mark.long
def test_what_a_killed_controller_left_open_ends_with_its_last_record(paced: Any) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: run.step() >= 33)
        kill(controller_pid(run.run))

    from_disk = {"snapshot_every": "never"}
    spec = paced(model=PACE, train={"steps": 60}, checkpoint=from_disk, name="goodput-otter")
    with sabotage(plan) as saboteur, pytest.raises(ClusterUnavailable):
        train(spec, on_start=saboteur.on_start)
    result = train(spec, resume=True)
    run = Watched(result.run)
    report = must_add_up(run)
    assert len({event["attempt"] for event in run.events("worker-placed")}) == report.attempts == 2
    assert report.steps == 60
    assert report.steps_repeated >= 33 - 20 - 1, "the newest checkpoint is that of step 20"
    assert report.buckets[Bucket.REPEATED] > 0
    assert report.queue_s > 0
