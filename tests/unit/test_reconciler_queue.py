"""A long queue: who can never fit keeps nobody from starting."""

from orchestrator.controllers.scheduler import QUEUE_SEEN
from orchestrator.domain.status import RunStatus
from tests.unit.service_world import World


async def with_runs_that_never_fit(world: World, count: int) -> None:
    for number in range(count):
        await world.submit(f"giant-{number}", priority=90, workers=8)


async def test_a_run_behind_any_number_that_can_never_fit_starts() -> None:
    world = World(2)
    await with_runs_that_never_fit(world, QUEUE_SEEN + 20)
    await world.submit("otter", priority=10)
    await world.turn(2)
    assert (await world.run("otter")).active


async def test_who_is_left_out_because_it_can_never_fit_still_says_why() -> None:
    world = World(2)
    await with_runs_that_never_fit(world, QUEUE_SEEN + 20)
    await world.submit("otter")
    await world.turn(2)
    last = await world.run(f"giant-{QUEUE_SEEN + 19}")
    said = world.reconciler.wait_of(last)
    assert said == "can never fit: needs 8 workers of 1 CPU each; the cluster has 2 CPU on 1 node"


async def test_who_can_never_fit_says_so_though_others_go_before_it() -> None:
    world = World(2)
    for name in ("first", "second"):
        await world.submit(name, workers=2)
    await world.submit("giant", workers=8, priority=10)
    await world.turn(2)
    said = world.reconciler.wait_of(await world.run("giant"))
    assert said == "can never fit: needs 8 workers of 1 CPU each; the cluster has 2 CPU on 1 node"


async def test_when_the_cluster_grows_what_could_never_fit_is_looked_at_again() -> None:
    world = World(4, 4)
    world.cluster.remove_node(world.cluster.view().nodes[1].id)
    await world.submit("giant", workers=8)
    await world.turn(3)
    assert (await world.run("giant")).status is RunStatus.QUEUED
    world.cluster.return_node(world.cluster.view().nodes[1].id)
    await world.until("giant", RunStatus.SUCCEEDED)
