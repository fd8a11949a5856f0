"""What the guards promise: a bad replica, a frozen worker, a step that is not finite, a slow worker."""

import signal
import time
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.errors import RunFailed
from orchestrator.domain.run_directory import RunDirectory
from tests.integration.saboteur import Watched, inject, kill, sabotage
from trainers.elastic.faults import FlipBit, Slow, Stall
from trainers.main import train

PACE = {"pause_s": 0.01}


def strong(run: Watched, workers: int) -> bool:
    return len(run.members()) == workers and run.step() >= 5


def undisturbed_sha256(paced: Any, steps: int) -> str:
    return train(paced(workers=1, train={"steps": steps})).parameters_sha256


@pytest.mark.long
def test_a_flipped_bit_in_one_of_three_replicas_is_outvoted_and_healed_and_the_bits_stay(paced: Any) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: strong(run, 3) and run.step() >= 12)
        bad.append(inject(run, 1, FlipBit(tensor=0, octet=7, bit=3)))
        run.wait(lambda: bool(run.events("replica-corrupted")))
        run.wait(lambda: len(run.members()) == 3 and bad[0] not in run.members())

    bad: list[str] = []
    with sabotage(plan) as saboteur:
        result = train(
            paced(workers="1:3", model=PACE, train={"steps": 200, "verify_every": 10}),
            on_start=saboteur.on_start,
        )
    watched = Watched(result.run)
    (event,) = watched.events("replica-corrupted")
    assert event["worker"] == bad[0]
    assert event["step"] % 10 == 0
    assert result.parameters_sha256 == undisturbed_sha256(paced, 200)
    report = audit(result.run)
    assert report.ok, report.problems
    assert sum(epoch.repeated for epoch in report.epochs) == 0


def test_where_two_replicas_differ_both_go_back_and_the_bits_stay(paced: Any) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: strong(run, 2) and run.step() >= 12)
        inject(run, 0, FlipBit(tensor=2, octet=3, bit=6))
        run.wait(lambda: bool(run.events("replicas-differ")))

    with sabotage(plan) as saboteur:
        result = train(
            paced(workers=2, model=PACE, train={"steps": 60, "verify_every": 10}), on_start=saboteur.on_start
        )
    assert not Watched(result.run).events("replica-corrupted")
    assert result.parameters_sha256 == undisturbed_sha256(paced, 60)
    assert audit(result.run).ok


@pytest.mark.long
def test_a_frozen_worker_is_found_within_two_steps_and_three_seconds_and_wakes_as_nobody(paced: Any) -> None:
    found: dict[str, float] = {}

    def plan(run: Watched) -> None:
        run.wait(lambda: strong(run, 2) and run.step() >= 10)
        pid = next(iter(run.members().values()))
        kill(pid, signal.SIGSTOP)
        frozen_at, step = time.monotonic(), run.step()
        run.wait(lambda: bool(run.events("worker-hung")))
        found["s"] = time.monotonic() - frozen_at
        run.wait(lambda: run.step() > step + 2, timeout_s=3)  # nobody waits for Ray to end the frozen one
        kill(pid, signal.SIGCONT)
        run.wait(lambda: not lives(pid), timeout_s=20)
        run.wait(lambda: strong(run, 2))

    with sabotage(plan) as saboteur:
        result = train(
            paced(workers="1:2", model={"pause_s": 0.02}, train={"steps": 200}), on_start=saboteur.on_start
        )
    assert found["s"] < 2 * 0.1 + 3
    assert [e["worker"] for e in Watched(result.run).events("worker-hung")] == ["w1"]
    assert result.parameters_sha256 == undisturbed_sha256(paced, 200)
    report = audit(result.run)
    assert report.ok, report.problems


def test_a_training_thread_that_stands_still_in_a_living_process_is_found_too(paced: Any) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: strong(run, 2) and run.step() >= 10)
        inject(run, 1, Stall(seconds=600))
        run.wait(lambda: bool(run.events("worker-hung")), timeout_s=10)

    with sabotage(plan) as saboteur:
        result = train(paced(workers="1:2", model=PACE, train={"steps": 60}), on_start=saboteur.on_start)
    (event,) = Watched(result.run).events("worker-hung")
    assert (event["worker"], event["phase"]) == ("w2", "step")
    assert audit(result.run).ok


def test_a_step_that_is_not_finite_is_left_out_and_its_shard_is_named(paced: Any) -> None:
    # One epoch of 62 steps and a half: the row comes once.
    result = train(paced(workers=2, model={"nan_at": 100}))
    events = Watched(result.run).events
    assert [e["count"] for e in events("step-skipped")] == [1]
    (found,) = events("not-finite")
    assert found["worker"] in ("w1", "w2")
    assert found["last"] - found["first"] == 2
    assert result.run.read_status().metrics["steps_skipped"] == 1


def test_rollback_tries_once_more_and_then_gives_the_bits_of_skip(paced: Any) -> None:
    skipped = train(paced(workers=1, model={"nan_at": 100}))
    result = train(paced(workers=2, model={"nan_at": 100}, retry={"on_nan": "rollback"}))
    events = Watched(result.run).events
    assert [len(events(kind)) for kind in ("not-finite", "rolled-back", "step-skipped")] == [1, 1, 1]
    assert result.parameters_sha256 == skipped.parameters_sha256
    report = audit(result.run)
    assert report.ok, report.problems


def test_fail_ends_the_run_with_one_sentence_that_names_step_rows_shard_and_worker(
    paced: Any, tmp_path: Any
) -> None:
    sentence = r"step \d+: the loss of logical shard \d \(positions \d+ to \d+ of epoch 0\), computed by w"
    with pytest.raises(RunFailed, match=sentence):
        train(paced(workers=2, model={"nan_at": 100}, retry={"on_nan": "fail"}))
    run = RunDirectory.open(next(tmp_path.glob("*/run.json")).parent)
    assert run.read_status().reason == "NotFinite"


@pytest.mark.long
def test_a_worker_three_times_slower_is_named_within_twenty_steps_and_replaced(paced: Any) -> None:
    began: dict[str, int] = {}

    def plan(run: Watched) -> None:
        run.wait(lambda: strong(run, 3) and run.step() >= 20)
        worker = inject(run, 1, Slow(shard_s=0.02))
        began[worker] = run.step()
        run.wait(lambda: bool(run.events("straggler-found")))
        run.wait(lambda: worker not in run.members() and strong(run, 3))

    with sabotage(plan) as saboteur:
        result = train(
            paced(workers=3, model=PACE, train={"steps": 250}, retry={"replace_stragglers": True}),
            on_start=saboteur.on_start,
        )
    watched = Watched(result.run)
    event = watched.events("straggler-found")[0]
    assert event["step"] - began[event["worker"]] <= 20 + 3  # the step on record is up to 0.25 s old
    assert max(e["steps_repeated"] for e in watched.events("generation-started")) == 0
    assert not watched.events("worker-lost")
    assert audit(result.run).ok


def test_a_worker_a_third_slower_is_not_worth_a_word(paced: Any) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: strong(run, 2))
        inject(run, 1, Slow(shard_s=0.0035))

    with sabotage(plan) as saboteur:
        result = train(
            paced(workers=2, model=PACE, train={"steps": 80}, retry={"replace_stragglers": True}),
            on_start=saboteur.on_start,
        )
    assert not Watched(result.run).events("straggler-found")


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
