"""The control loop over the fake cluster: what becomes of a run, whatever happens to it."""

import pytest

from orchestrator.domain.status import RunStatus
from orchestrator.ports.cluster import DriverState
from tests.unit.service_world import World

QUEUED, STARTING, RUNNING = RunStatus.QUEUED, RunStatus.STARTING, RunStatus.RUNNING
PAUSED, SUCCEEDED = RunStatus.PAUSED, RunStatus.SUCCEEDED
FAILED, CANCELLED = RunStatus.FAILED, RunStatus.CANCELLED


async def test_a_run_starts_trains_and_succeeds() -> None:
    world = World(4)
    await world.submit("otter", workers="1:2")
    run = await world.until("otter", SUCCEEDED)
    assert await world.moves("otter") == ["STARTING", "RUNNING", "SUCCEEDED"]
    assert (run.attempt, run.driver, run.reason, run.progress.step) == (1, 1, "Finished", 100)
    assert (run.target, run.progress.workers, run.stop) == (0, 0, None)
    assert run.started is not None
    assert run.ended is not None
    [attempt] = await world.record.attempts(run.id)
    assert (attempt.reason, attempt.last_step) == ("Finished", 100)
    [driver] = await world.record.drivers(run.id)
    assert driver.ended is not None
    [generation] = await world.record.generations(run.id)
    assert (generation.attempt, generation.number, generation.workers) == (1, 1, ("w0", "w1"))


async def test_events_of_the_run_directory_are_taken_once_and_numbered_without_gaps() -> None:
    world = World(4)
    await world.submit("otter")
    await world.until("otter", SUCCEEDED)
    events = await world.events("otter")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = [event.kind for event in events]
    assert kinds[:4] == ["run-submitted", "status-moved", "attempt-started", "run-started"]
    assert kinds.count("generation-started") == kinds.count("run-ended") == 1
    assert kinds[-2:] == ["attempt-ended", "status-moved"]


async def test_the_greatest_priority_starts_first_and_the_next_when_there_is_room() -> None:
    world = World(1)
    await world.submit("low", priority=10)
    await world.submit("high", priority=90)
    await world.turn()
    assert (await world.run("high")).status is STARTING
    low = await world.run("low")
    assert low.status is QUEUED
    await world.turn()
    assert world.reconciler.wait_of(low) == "needs 1 worker of 1 CPU; 0 of 1 CPU are free, high holds 1"
    await world.until("low", SUCCEEDED)
    assert (await world.run("high")).status is SUCCEEDED


async def test_a_scale_up_is_granted_when_there_is_room_and_a_scale_down_at_once() -> None:
    world = World(4)
    await world.running("otter", train={"steps": 10_000})
    await world.service.scale("otter", 3)
    await world.turn(2)
    assert world.cluster.workers_of("otter") == 3
    await world.service.scale("otter", 1)
    await world.turn(2)
    assert world.cluster.workers_of("otter") == 1


async def test_a_new_service_adopts_what_runs_and_launches_nothing() -> None:
    world = World(4)
    await world.running("otter", train={"steps": 500})
    before = len(await world.events("otter"))
    world.cluster.tick(60)
    world.cluster.tick()
    world.reconciler = world.new_reconciler("service-2")
    await world.until("otter", SUCCEEDED, turns=120)
    assert world.launches("otter") == [(1, 1)]
    events = await world.events("otter")
    assert len(events) > before
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_a_run_that_began_and_ended_while_the_service_was_away_moves_through_running() -> None:
    world = World(4)
    await world.submit("otter")
    await world.turn()
    for _ in range(60):
        world.cluster.tick()
    await world.turn(2)
    assert await world.moves("otter") == ["STARTING", "RUNNING", "SUCCEEDED"]


async def test_a_driver_that_dies_is_replaced_in_the_same_attempt() -> None:
    world = World(4)
    run = await world.running("otter", train={"steps": 500})
    world.cluster.fail_driver(f"{run.id}-1-1")
    step = (await world.run("otter")).progress.step
    await world.turn(3)
    run = await world.run("otter")
    assert (run.status, run.attempt, run.driver) == (RUNNING, 1, 2)
    assert run.progress.step > step
    assert world.launches("otter") == [(1, 1), (1, 2)]
    assert [event.kind for event in await world.events("otter") if "driver" in event.kind] == [
        "driver-ended",
        "driver-started",
    ]


async def test_a_lost_controller_means_a_new_attempt_that_goes_on() -> None:
    world = World(4)
    await world.running("otter", train={"steps": 500})
    await world.turn(3)
    step = (await world.run("otter")).progress.step
    world.cluster.kill_controller("otter")
    run = await world.until("otter", QUEUED, STARTING)
    assert (run.reason, run.progress.step) in {("ControllerLost", step), (None, step)}
    run = await world.until("otter", SUCCEEDED, turns=150)
    first, second = await world.record.attempts(run.id)
    assert (first.number, first.reason) == (1, "ControllerLost")
    assert (second.number, second.first_step, second.reason) == (2, step, "Finished")


async def test_a_lost_head_is_a_new_attempt_by_itself() -> None:
    world = World(4)
    await world.running("otter", train={"steps": 500})
    world.cluster.lose_everything()
    await world.turn(4)
    run = await world.until("otter", RUNNING)
    assert run.attempt == 2
    assert world.launches("otter") == [(1, 1), (1, 2), (2, 1)]


async def test_losses_without_progress_are_spaced_out_and_end_the_run() -> None:
    world = World(4)
    await world.submit("otter", retry={"max_losses_without_progress": 3})
    waits = []
    for _ in range(40):
        await world.turn()
        run = await world.run("otter")
        if run.not_before is not None:
            waits.append(world.reconciler.wait_of(run))
        for controller in world.cluster.living("otter"):
            controller.steps_per_tick = 0
        world.cluster.kill_controller("otter")
    assert (run.status, run.reason) == (FAILED, "NoProgress")
    assert len(await world.record.attempts(run.id)) == 3
    assert "attempt 2 ended ControllerLost; the next one starts in 1 s" in waits


async def test_errors_of_the_users_code_are_forgiven_as_often_as_the_spec_says() -> None:
    world = World(4)
    await world.submit("otter", retry={"max_failures": 1}, train={"steps": 1000})
    for attempt in (1, 2):
        await world.until("otter", RUNNING)
        await world.turn(3)
        assert (await world.run("otter")).attempt == attempt
        world.cluster.user_error("otter")
        await world.turn(2)
    run = await world.until("otter", FAILED)
    assert run.reason == "MaxFailuresExceeded"
    assert "the loss of your code" in run.message


async def test_three_drivers_in_a_row_that_do_nothing_end_the_attempt() -> None:
    world = World(4)
    await world.submit("otter", retry={"max_losses_without_progress": 1})
    await world.turn()
    for _ in range(20):
        run = await world.run("otter")
        if run.status is not STARTING:
            break
        world.cluster.fail_driver(f"{run.id}-1-{run.driver}", "no module named otter")
        await world.round()
    run = await world.run("otter")
    assert (run.status, run.reason) == (FAILED, "NoProgress")
    assert "3 drivers in a row ended without progress; the last one: no module named otter" in run.message
    assert world.launches("otter") == [(1, 1), (1, 2), (1, 3)]


async def test_the_deadline_stops_a_run_that_trains_and_fails_one_that_waits_again() -> None:
    world = World(1)
    spec = {"stop": {"max_duration": 20}, "train": {"steps": 10_000}}
    await world.running("otter", **spec)
    run = await world.until("otter", FAILED)
    assert run.reason == "DeadlineExceeded"
    assert run.message == "stop.max_duration of 20 s is over"
    assert await world.events("otter", "checkpoint-committed")

    await world.running("heron", **spec)
    await world.service.pause("heron")
    await world.until("heron", PAUSED)
    await world.submit("owl", priority=100, train={"steps": 10_000})
    await world.until("owl", RUNNING)
    await world.service.resume("heron")
    run = await world.until("heron", FAILED)
    assert (run.reason, run.attempt) == ("DeadlineExceeded", 1)


@pytest.mark.parametrize("verb", ["pause", "cancel"])
@pytest.mark.parametrize("turns", [0, 1, 2, 6])
async def test_a_run_is_paused_or_cancelled_at_any_time(verb: str, turns: int) -> None:
    world = World(4)
    await world.submit("otter", train={"steps": 10_000})
    await world.turn(turns)
    await getattr(world.service, verb)("otter")
    end = PAUSED if verb == "pause" else CANCELLED
    run = await world.until("otter", end)
    assert run.reason == ("UserPaused" if verb == "pause" else "UserCancelled")
    assert world.cluster.living("otter") == []
    if verb == "pause":
        await world.service.resume("otter")
        assert (await world.until("otter", RUNNING)).attempt == (2 if turns else 1)


async def test_a_run_that_obeys_no_wish_is_stopped_by_force_and_closed_as_wished() -> None:
    world = World(4)
    await world.running("otter", train={"steps": 10_000}, stop={"grace": 5})
    world.cluster.deafen("otter")
    await world.service.cancel("otter")
    await world.turn(30)
    assert (await world.run("otter")).status is RunStatus.CANCELLING
    assert world.cluster.stopped == []
    run = await world.until("otter", CANCELLED)
    assert world.cluster.stopped == [f"{run.id}-1-1"]


async def test_a_job_that_is_stopped_with_rays_tools_is_a_cancel() -> None:
    world = World(4)
    run = await world.running("otter", train={"steps": 10_000})
    world.cluster.stop(f"{run.id}-1-1")
    await world.until("otter", CANCELLED)
    assert (await world.moves("otter"))[-2:] == ["CANCELLING", "CANCELLED"]
    assert world.cluster.drivers()[f"{run.id}-1-1"].state is DriverState.STOPPED


async def test_a_checkpoint_is_taken_once_for_each_wish() -> None:
    world = World(4)
    await world.running("otter", train={"steps": 10_000})
    for _ in range(2):
        await world.service.take_checkpoint("otter")
        asked = await world.service.take_checkpoint("otter")
        assert asked.checkpoint_wish > 0
        await world.turn(4)
        assert (await world.run("otter")).checkpoint_wish == 0
    events = [event for event in await world.events("otter") if event.kind.startswith("checkpoint-")]
    kinds = [event.kind for event in events]
    assert kinds == ["checkpoint-requested", "checkpoint-committed"] * 2
    first, done, second, again = (event.facts["wish"] for event in events)
    assert first == done == events[0].seq
    assert second == again == events[2].seq


async def test_a_wish_for_a_checkpoint_survives_the_attempt_and_the_service() -> None:
    world = World(4)
    run = await world.running("otter", train={"steps": 10_000})
    await world.service.take_checkpoint("otter")
    world.cluster.kill_controller("otter")
    world.cluster.fail_driver(f"{run.id}-1-1")
    world.reconciler = world.new_reconciler()
    await world.turn(12)
    run = await world.run("otter")
    assert (run.attempt, run.checkpoint_wish) == (2, 0)
    (done,) = [event for event in await world.events("otter") if event.kind == "checkpoint-committed"]
    assert done.attempt == 2
