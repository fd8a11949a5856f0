"""The control loop when what it stands on fails: Ray, the lease, a disk, its own process."""

import asyncio
import threading
from datetime import timedelta

import pytest

from cluster.fake import FakeCluster
from orchestrator.controllers import acting
from orchestrator.domain.errors import RunNotFound, StorageError
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.cluster import ClusterView, DriverOrder
from tests.unit.service_world import World

QUEUED, STARTING, RUNNING = RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING
LONG = {"train": {"steps": 10_000}}


class Killed(BaseException):
    """As if the process ended here."""


async def test_while_ray_is_away_nothing_starts_and_what_runs_is_still_heard() -> None:
    world = World(4)
    await world.running("otter", **LONG)
    world.cluster.go_away()
    waiting = await world.submit("owl")
    await world.turn(5)
    otter = await world.run("otter")
    step = otter.progress.step
    assert (otter.status, otter.driver) == (RUNNING, 1)
    assert world.reconciler.cluster_trouble == "Ray does not answer at http://fake"
    assert world.reconciler.wait_of(waiting) == "Ray does not answer at http://fake"
    await world.turn(5)
    assert (await world.run("otter")).progress.step > step
    assert (await world.run("owl")).status is QUEUED
    world.cluster.come_back()
    await world.turn(2)
    assert world.reconciler.cluster_trouble is None
    assert (await world.run("owl")).status is not QUEUED
    assert world.launches("otter") == [(1, 1)]


async def test_a_cancel_is_obeyed_while_ray_is_away() -> None:
    world = World(4)
    await world.running("otter", **LONG)
    world.cluster.go_away()
    await world.service.cancel("otter")
    await world.until("otter", RunStatus.CANCELLED)


async def test_a_launch_that_ray_did_not_hear_is_repeated() -> None:
    world = World(4)
    await world.submit("otter")
    await world.reconciler.look()
    world.cluster.go_away()
    await world.reconciler.round()
    await world.reconciler.settle()
    assert (await world.run("otter")).status is STARTING
    assert world.launches("otter") == []
    world.cluster.come_back()
    await world.until("otter", RUNNING)
    assert world.launches("otter") == [(1, 1)]


async def test_killed_between_the_record_and_the_launch_the_next_service_launches_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(4)
    await world.submit("otter")

    def die(name: str) -> None:
        raise Killed(name)

    with monkeypatch.context() as patch:
        patch.setattr(acting, "reach", die)
        with pytest.raises(Killed, match="mid-reconcile"):
            await world.turn()
    assert (await world.run("otter")).status is STARTING
    assert world.launches("otter") == []
    world.cluster.now += timedelta(seconds=5)
    world.reconciler = world.new_reconciler("service-2")
    await world.until("otter", RUNNING)
    assert world.launches("otter") == [(1, 1)]
    assert len(await world.events("otter", "attempt-started")) == 1


async def test_of_two_services_one_acts_and_the_other_follows_when_it_is_gone() -> None:
    world = World(4)
    second = world.new_reconciler("service-2")
    await world.turn()
    await world.submit("otter", **LONG)
    await second.look()
    await second.round()
    assert (await world.run("otter")).status is QUEUED
    await world.turn()
    assert (await world.run("otter")).status is STARTING
    first, world.reconciler = world.reconciler, second
    await world.turn(5)
    assert (await world.run("otter")).status is RUNNING

    await first.round()
    before = (await world.run("otter")).progress.step
    world.cluster.tick()
    await first.round()
    assert (await world.run("otter")).progress.step == before, "a service without the lease wrote"
    assert world.launches("otter") == [(1, 1)]


async def test_a_lease_lost_in_the_middle_of_a_round_stops_its_writes() -> None:
    world = World(4)
    await world.turn()
    await world.submit("otter")
    now_s = world.cluster.clock().timestamp()
    await world.record.take_lease("service-2", now_s=now_s + 60, ttl_s=60)
    await world.reconciler.round()
    assert (await world.run("otter")).status is QUEUED
    assert world.cluster.launched == []


async def test_broken_storage_of_one_run_does_not_stop_the_others() -> None:
    world = World(4)
    await world.running("otter", **LONG)
    await world.running("owl", **LONG)
    world.cluster.break_storage("otter")
    otter, owl = await world.run("otter"), await world.run("owl")
    await world.turn(3)
    assert (await world.run("otter")).progress == otter.progress
    assert (await world.run("owl")).progress.step > owl.progress.step
    await world.running("heron", **LONG)
    world.cluster.mend_storage("otter")
    await world.turn(3)
    assert (await world.run("otter")).progress.step > otter.progress.step


async def test_a_run_whose_storage_never_takes_it_says_so_and_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(4)

    def refuse(run: Run) -> None:
        raise StorageError(f"{run.storage} cannot be written")

    monkeypatch.setattr(world.cluster, "begin", refuse)
    await world.submit("otter", retry={"start_timeout": 20})
    await world.turn(3)
    run = await world.run("otter")
    assert run.status is STARTING
    assert world.reconciler.wait_of(run) == "/runs cannot be written"
    run = await world.until("otter", RunStatus.FAILED)
    assert (run.reason, run.message) == ("StorageFailed", "/runs cannot be written")


async def test_a_run_directory_of_another_run_fails_the_run() -> None:
    world = World(4)
    await world.submit("otter")
    await world.until("otter", RunStatus.SUCCEEDED)
    await world.service.delete("otter")
    await world.submit("otter", train={"steps": 7})
    run = await world.until("otter", RunStatus.FAILED)
    assert (run.reason, run.message) == ("SpecRefused", "run 'otter' was started with another spec")


async def test_ended_runs_are_forgotten_after_the_retention() -> None:
    world = World(4)
    await world.submit("otter")
    await world.until("otter", RunStatus.SUCCEEDED)
    await world.turn(seconds=89 * 86_400.0)
    await world.turn(3)
    assert (await world.run("otter")).status is RunStatus.SUCCEEDED
    await world.turn(seconds=2 * 86_400.0)
    await world.turn(3)
    with pytest.raises(RunNotFound):
        await world.run("otter")


async def test_progress_is_written_at_most_once_a_second_and_events_at_once() -> None:
    world = World(4)
    await world.running("otter", **LONG)
    world.told.clear()
    await world.turn(10, seconds=0.2)
    assert 1 <= len(world.told) <= 3
    world.told.clear()
    await world.service.scale("otter", 2)
    await world.turn(3, seconds=0.2)
    assert len(await world.events("otter", "generation-started")) == 2


async def test_an_active_run_gets_a_beat_every_five_seconds() -> None:
    world = World(4)
    await world.running("otter", **LONG)
    folder = world.cluster.living("otter")[0].folder
    beats = set()
    for _ in range(20):
        await world.turn()
        beats.add(folder.last_beat)
    assert len(beats) == 5


class SlowCluster(FakeCluster):
    """Answers nobody until it is let."""

    def __init__(self, *cpus: float) -> None:
        super().__init__(*cpus)
        self.let = threading.Event()

    def view(self) -> ClusterView:
        assert self.let.wait(timeout=30)
        return super().view()

    def launch(self, order: DriverOrder) -> None:
        assert self.let.wait(timeout=30)
        super().launch(order)


async def test_a_cluster_that_answers_slowly_delays_no_round() -> None:
    world = World(4)
    slow = world.cluster = SlowCluster(4)
    world.reconciler = world.new_reconciler()
    slow.let.set()
    await world.running("otter", **LONG)
    slow.let.clear()
    step = (await world.run("otter")).progress.step
    await world.submit("owl")
    for _ in range(5):
        slow.tick()
        await asyncio.wait_for(world.reconciler.round(), timeout=5)
    assert (await world.run("otter")).progress.step == step + 25
    assert world.launches("owl") == []
    slow.let.set()
    await world.until("owl", RUNNING)
    assert world.launches("owl") == [(1, 1)]


async def test_an_answer_from_before_the_launch_says_nothing_of_the_driver() -> None:
    world = World(4)
    slow = world.cluster = SlowCluster(4)
    world.reconciler = world.new_reconciler()
    slow.let.set()
    await world.submit("otter", **LONG)
    await world.turn()
    slow.let.clear()
    for _ in range(3):
        slow.tick()
        await world.reconciler.round()
    run = await world.run("otter")
    assert (run.status, run.driver) == (RUNNING, 1)
    slow.let.set()
    await world.turn()
    assert world.launches("otter") == [(1, 1)]


async def test_the_loop_goes_on_after_a_round_that_failed() -> None:
    world = World(4)
    await world.submit("otter")
    failing = [StorageError("the disk of the record is full")]
    take_lease = world.record.take_lease

    async def fail_once(holder: str, *, now_s: float, ttl_s: float) -> int | None:
        if failing:
            world.reconciler.wake()
            raise failing.pop()
        return await take_lease(holder, now_s=now_s, ttl_s=ttl_s)

    world.record.take_lease = fail_once  # type: ignore[method-assign]
    started = asyncio.Event()
    world.reconciler = world.new_reconciler()
    world.reconciler._hands.on_change = lambda run_id: started.set()
    world.reconciler._round_s = 0.0
    loop = asyncio.create_task(world.reconciler.run())
    world.cluster.tick()
    await asyncio.wait_for(started.wait(), timeout=10)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert (await world.run("otter")).status is STARTING
    assert await take_lease("service-2", now_s=world.cluster.clock().timestamp(), ttl_s=1) is not None
