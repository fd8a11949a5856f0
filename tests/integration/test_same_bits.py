"""One spec, one result: whatever the number of workers, whoever dies, and whenever.

Two epochs with dropout; the last batch of each has fewer rows than there are logical shards. Each case must
end with the parameters, the optimizer state and the hash chain of one worker that nobody disturbed, and with
an audit that finds each row used once.
"""

import random
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.errors import TumblerError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from tests.integration.saboteur import (
    Watched,
    controller_pid,
    four_then_two_then_three,
    kill,
    kill_random_member,
    kill_ranks,
    sabotage,
)
from trainers.main import train

ROWS, BATCH, STEPS = 485, 16, 62
"""31 steps an epoch; the last one of each has 5 rows for 8 logical shards."""
CHECKPOINT_EVERY, LINK_EVERY = 20, 7
SLOW = 0.12
"""Seconds per logical shard, so that each replacement is there before the next fault."""
Proof = tuple[Any, ...]


@pytest.fixture(scope="module")
def spec_of(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Callable[..., RunSpec]:
    storage = tmp_path_factory.mktemp("runs")

    def make(workers: Any, *, pause_s: float = 0.0, **more: Any) -> RunSpec:
        return RunSpec.parse(
            {
                "task": "tests.integration.tasks:Paced",
                "workers": workers,
                "model": {"rows": ROWS, "pause_s": pause_s},
                "train": {"epochs": 2, "global_batch": BATCH, "logical_shards": 8, "evaluate_rows": 64},
                "checkpoint": {
                    "storage": str(storage),
                    "every": CHECKPOINT_EVERY,
                    "link_every": LINK_EVERY,
                    **more.pop("checkpoint", {}),
                },
                **more,
            }
        )

    return make


@pytest.fixture(scope="module")
def undisturbed(spec_of: Callable[..., RunSpec]) -> Proof:
    """What one worker makes of the spec."""
    return proof(train(spec_of(1)).run)


def proof(run: RunDirectory) -> Proof:
    """What must not depend on what happened; the audit must find nothing."""
    report = audit(run)
    assert report.problems == ()
    assert [(epoch.expected, epoch.consumed) for epoch in report.epochs] == [(ROWS, ROWS)] * 2
    assert [(epoch.repeated, epoch.missed) for epoch in report.epochs] == [(0, 0)] * 2
    assert [link.step for link in report.chain] == [*range(LINK_EVERY, STEPS, LINK_EVERY), STEPS]
    assert report.parameters_sha256 == run.read_status().parameters_sha256
    return report.parameters_sha256, report.optimizer_sha256, report.chain


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_workers_takes_the_same_way(
    spec_of: Callable[..., RunSpec], undisturbed: Proof, workers: int
) -> None:
    assert proof(train(spec_of(workers)).run) == undisturbed


@pytest.mark.long
def test_three_kills_change_nothing(spec_of: Callable[..., RunSpec], undisturbed: Proof) -> None:
    def three_kills(run: Watched) -> None:
        rng = random.Random(7)
        for step in (10, 25, 40):
            run.wait(lambda step=step: run.step() >= step and len(run.members()) == 2)
            kill_random_member(run, rng)
            lost = len(run.events("worker-lost"))
            run.wait(lambda lost=lost: len(run.events("worker-lost")) > lost or lost >= 3)

    with sabotage(three_kills) as saboteur:
        result = train(spec_of("1:2", pause_s=SLOW), on_start=saboteur.on_start)
    assert len(Watched(result.run).events("worker-lost")) >= 3
    assert proof(result.run) == undisturbed


@pytest.mark.long
def test_one_worker_becomes_four_then_two_then_three_with_kills_during_recovery(
    spec_of: Callable[..., RunSpec], undisturbed: Proof
) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: run.step() >= 2)
        four_then_two_then_three(run)

    with sabotage(plan) as saboteur:
        result = train(spec_of(1, pause_s=SLOW), on_start=saboteur.on_start)
    sizes = [len(event["workers"]) for event in Watched(result.run).events("generation-started")]
    assert sizes[0] == 1
    assert {4, 2, 3} <= set(sizes), sizes
    assert proof(result.run) == undisturbed


def test_all_workers_lost_at_once_go_on_from_the_newest_checkpoint_where_there_are_no_snapshots(
    spec_of: Callable[..., RunSpec], undisturbed: Proof
) -> None:
    def kill_all(run: Watched) -> None:
        run.wait(lambda: run.step() >= 30)
        kill_ranks(run, 0, 1)

    with sabotage(kill_all) as saboteur:
        spec = spec_of(2, pause_s=0.01, checkpoint={"snapshot_every": "never"})
        result = train(spec, on_start=saboteur.on_start)
    restored = [e for e in Watched(result.run).events("generation-started") if "step-" in e["source"]]
    assert [event["step"] for event in restored] == [20]
    assert proof(result.run) == undisturbed


@pytest.mark.long
def test_workers_and_controller_lost_at_once_go_on_from_the_newest_checkpoint(
    spec_of: Callable[..., RunSpec], undisturbed: Proof
) -> None:
    def kill_everything(run: Watched) -> None:
        run.wait(lambda: run.step() >= 47)
        pids = [controller_pid(run.run), *run.members().values()]
        for pid in pids:
            kill(pid)

    spec = spec_of(2, pause_s=0.02, checkpoint={"snapshot_every": "never"})
    with sabotage(kill_everything) as saboteur, pytest.raises(TumblerError):
        train(spec, on_start=saboteur.on_start)
    result = train(spec, resume=True)
    assert result.run.record().attempt == 2
    assert Watched(result.run).events("generation-started")[-1]["step"] == 40
    assert proof(result.run) == undisturbed


@pytest.mark.long
def test_a_worker_that_freezes_and_wakes_as_a_zombie_changes_nothing(
    spec_of: Callable[..., RunSpec], undisturbed: Proof
) -> None:
    def freeze_and_wake(run: Watched) -> None:
        run.wait(lambda: run.step() >= 10 and len(run.members()) == 2)
        frozen = run.members()["w1"]
        kill(frozen, signal.SIGSTOP)
        run.wait(lambda: bool(run.events("worker-hung")))
        with suppress(ProcessLookupError):
            kill(frozen, signal.SIGCONT)
        run.wait(lambda: len(run.members()) == 2 and frozen not in run.members().values())

    with sabotage(freeze_and_wake) as saboteur:
        result = train(spec_of("1:2", pause_s=0.05, retry={"hang_timeout": 2}), on_start=saboteur.on_start)
    assert [event["worker"] for event in Watched(result.run).events("worker-hung")] == ["w1"]
    assert proof(result.run) == undisturbed
