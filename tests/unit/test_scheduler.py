"""The scheduler at work: runs shrink, leave and come back while others start."""

import contextlib
import random

import pytest

from orchestrator.domain.errors import WrongStatus
from orchestrator.domain.queues import Queue
from orchestrator.domain.status import IncidentKind, RunStatus
from orchestrator.services.runs import Workers
from tests.unit.service_world import World

QUEUED, RUNNING, PAUSED, CANCELLED, SUCCEEDED = (
    RunStatus.QUEUED,
    RunStatus.RUNNING,
    RunStatus.PAUSED,
    RunStatus.CANCELLED,
    RunStatus.SUCCEEDED,
)
LONG = {"steps": 5000}


async def test_the_second_of_two_elastic_runs_starts_at_once_and_the_first_never_restarts() -> None:
    world = World(4)
    first = await world.running("first", workers="1:4", train=LONG)
    assert first.target == 4
    await world.submit("second", workers="1:4", train=LONG)
    await world.turn()
    assert ((await world.run("first")).target, (await world.run("second")).target) == (2, 2)
    await world.until("second", RUNNING)
    assert (world.cluster.workers_of("first"), world.cluster.workers_of("second")) == (2, 2)
    assert world.launches("first") == [(1, 1)]
    world.cluster.finish("second")
    await world.until("second", SUCCEEDED)
    await world.turn(2)
    assert world.cluster.workers_of("first") == 4


async def test_a_preempted_run_leaves_a_checkpoint_and_goes_on_from_it() -> None:
    world = World(2)
    await world.running("low", workers=2, priority=10, train=LONG)
    await world.turn(3)
    await world.submit("high", workers=2, priority=90, train={"steps": 20})
    await world.turn()
    asked = await world.run("low")
    assert (asked.status, asked.stop) == (RUNNING, "Preempted")
    assert [event.facts["target"] for event in await world.events("low", "run-preempted")] == [2]
    waiting = await world.until("low", QUEUED, turns=2)
    assert (waiting.reason, waiting.target, waiting.not_before) == ("Preempted", 0, None)
    assert waiting.progress.checkpoint == f"checkpoints/step-{waiting.progress.step:08}"
    assert waiting.patience.counts[IncidentKind.PREEMPTION] == 1
    assert "low leaves" not in (world.reconciler.wait_of(waiting) or "")
    assert (await world.run("high")).active, "in the round in which the places are free"
    await world.until("high", SUCCEEDED)
    again = await world.until("low", RUNNING)
    assert again.attempt == 2
    assert (await world.record.attempts(again.id))[1].first_step == waiting.progress.step


async def test_patience_for_preemptions_is_what_the_spec_says() -> None:
    world = World(1)
    await world.running("low", priority=10, train=LONG, retry={"max_preemptions": 0})
    await world.submit("high", priority=90)
    run = await world.until("low", RunStatus.FAILED)
    assert run.reason == "MaxPreemptionsExceeded"
    assert "high needs its 1 worker and has priority 90, this run 10" in run.message


async def test_a_priority_that_is_raised_preempts_too() -> None:
    world = World(1)
    await world.running("holder", priority=50, train=LONG)
    await world.submit("waiter", priority=50)
    await world.turn(2)
    assert (await world.run("waiter")).status is QUEUED
    waiter = await world.run("waiter")
    await world.service.patch("waiter", if_version=waiter.version, priority=60)
    await world.turn(2)
    assert (await world.run("waiter")).active
    assert (await world.run("holder")).status is QUEUED


@pytest.mark.parametrize(("verb", "ends"), [("pause", PAUSED), ("cancel", CANCELLED)])
async def test_what_a_user_wishes_goes_before_a_preemption(verb: str, ends: RunStatus) -> None:
    world = World(1)
    await world.running("low", priority=10, train=LONG)
    await world.submit("high", priority=90)
    await world.turn()
    assert (await world.run("low")).stop == "Preempted"
    await getattr(world.service, verb)("low")
    run = await world.until("low", ends)
    assert (run.target, run.stop) == (0, None)


async def test_an_attempt_that_does_not_obey_is_ended_by_force() -> None:
    world = World(1)
    await world.running("low", priority=10, train=LONG, stop={"grace": 1})
    world.cluster.deafen("low")
    await world.submit("high", priority=90)
    await world.until("low", QUEUED, turns=60)
    assert world.cluster.stopped
    await world.until("high", RUNNING, turns=120)  # when the deaf controller finds that it is an orphan


async def test_a_run_that_lost_its_node_gives_what_it_cannot_use_to_others() -> None:
    world = World(2, 2)
    await world.running("wide", workers=4, priority=50, train=LONG)
    world.cluster.remove_node("node-1")
    await world.turn(3)
    wide = await world.run("wide")
    assert (wide.status, wide.target) == (RUNNING, 4)
    assert "waits for a node" in (world.reconciler.wait_of(wide) or "")
    await world.submit("narrow", workers=2, train=LONG)
    await world.until("narrow", RUNNING)
    wide = await world.run("wide")
    assert wide.status is QUEUED
    assert (world.reconciler.wait_of(wide) or "").startswith("can never fit")
    await world.service.cancel("narrow")
    world.cluster.return_node("node-1")
    await world.until("wide", RUNNING)


async def test_what_a_better_claim_lost_with_a_node_it_gets_from_a_lower_one() -> None:
    world = World(2, 2, 2)
    await world.running("high", workers=3, priority=90, train=LONG)
    await world.running("low", workers=3, priority=10, train=LONG)
    world.cluster.remove_node("node-0")
    await world.until("low", QUEUED)
    await world.turn(3)
    assert ((await world.run("high")).attempt, world.cluster.workers_of("high")) == (1, 3)
    assert (await world.run("low")).status is QUEUED


async def test_a_quota_holds_and_is_explained() -> None:
    world = World(8)
    await world.record.put_queue(Queue("nlp", {"workers": 2}))
    await world.running("first", queue="nlp", workers="1:8", train=LONG)
    run = await world.run("first")
    assert run.target == 2
    assert world.reconciler.wait_of(run) == "2 of 8 workers: queue nlp is at its quota"
    await world.record.put_queue(Queue("nlp", {"workers": 4}))
    await world.turn(20)
    assert (await world.run("first")).target == 4


async def test_a_run_that_is_scaled_beyond_what_is_free_trains_on_meanwhile() -> None:
    world = World(3)
    await world.running("a", workers=1, train=LONG)
    await world.running("b", workers=2, train=LONG)
    await world.service.scale("a", Workers(2, 2))
    await world.turn(3)
    run = await world.run("a")
    assert (run.workers_min, run.target, world.cluster.workers_of("a")) == (2, 1, 1)
    orders = world.cluster.orders_of("a")
    assert orders is not None
    assert (orders.workers_min, orders.target) == (1, 1)
    step = run.progress.step
    await world.service.cancel("b")
    await world.turn(5)
    run = await world.run("a")
    assert (run.target, world.cluster.workers_of("a")) == (2, 2)
    assert run.progress.step > step


async def something_happens(world: World, chance: random.Random, name: str) -> None:
    match chance.randrange(9):
        case 0:
            await world.service.pause(name)
        case 1:
            await world.service.resume(name)
        case 2:
            await world.service.scale(name, Workers(chance.randint(1, 3), chance.randint(3, 6)))
        case 3:
            run = await world.run(name)
            await world.service.patch(name, if_version=run.version, priority=chance.randrange(100))
        case 4 if chance.random() < 0.3:
            await world.service.cancel(name)
        case 5:
            world.cluster.remove_node("node-1")
        case 6 | 7:
            world.cluster.return_node("node-1")
        case _:
            world.cluster.kill_controller(name)


async def check(world: World) -> None:
    active = await world.record.active()
    whole = all(node.alive for node in world.cluster.view().nodes)
    if whole and not any(run.stop for run in active):
        assert sum(run.target for run in active) <= 6
    for run in active:
        assert len(world.cluster.living(run.name)) <= 1
        assert 1 <= run.target <= run.workers_max


@pytest.mark.parametrize("seed", range(12))
async def test_any_race_of_verbs_and_losses_ends_in_one_legal_state(seed: int) -> None:
    """Cancel, scale, pause, priority and node loss in any order: no worker twice, and all comes to an end."""
    chance = random.Random(seed)
    world = World(3, 3)
    names = [f"run-{number}" for number in range(5)]
    for name in names:
        workers = chance.choice([1, 2, "1:4", "2:6"])
        await world.submit(name, workers=workers, priority=chance.randrange(3) * 10, train={"steps": 300})
    for _ in range(40):
        with contextlib.suppress(WrongStatus):
            await something_happens(world, chance, chance.choice(names))
        await world.turn(chance.randint(0, 3))
        await check(world)
    world.cluster.return_node("node-1")
    for name in names:
        if (await world.run(name)).status in (PAUSED, RunStatus.PAUSING):
            await world.until(name, PAUSED, CANCELLED, turns=80)
            await world.service.resume(name)
    for name in names:
        run = await world.until(name, SUCCEEDED, CANCELLED, RunStatus.FAILED, turns=400)
        assert (run.target, run.stop) == (0, None)
