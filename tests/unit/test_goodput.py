"""Where worker-seconds went: by histories whose answer can be counted on fingers, and by many that cannot."""

import pytest

from orchestrator.domain.events import EventKind
from orchestrator.domain.goodput import RunGoodput, cluster_goodput
from orchestrator.domain.goodput_history import Bucket
from tests.unit.goodput_runs import RandomRun, Told, two_workers


def test_an_undisturbed_run_is_start_steps_evaluation_and_the_last_commit() -> None:
    told = two_workers()
    for number in range(1, 11):
        told.step(number, 15 + number, input_wait_s=0.1 if number > 1 else 0.0)
    told.evaluated(26)
    told.ended(26.5)
    assert told.buckets() == {
        Bucket.START: 10.0,  # both from 10 to 15
        Bucket.INPUT_WAIT: 1.8,
        Bucket.PRODUCTIVE: 20 - 1.8 + 2,
        Bucket.CHECKPOINT: 1.0,
    }
    report = told.goodput()
    assert report.worker_s == pytest.approx(33.0)
    assert report.goodput == pytest.approx(20.2 / 33)
    assert report.queue_s == pytest.approx(10.0)
    assert (report.steps, report.steps_repeated, report.attempts) == (10, 0, 1)


def test_a_loss_costs_recovery_until_the_first_step_without_it_begins() -> None:
    told = two_workers()
    told.step(1, 16)
    told.gone(16.6, "w2", EventKind.WORKER_LOST)
    told.formed(16.7, "w1")
    told.step(2, 18)  # begun at 17
    told.ended(18)
    assert told.buckets() == {
        Bucket.START: 10.0,
        Bucket.PRODUCTIVE: 2.0 + 1.0,
        Bucket.RECOVERY: 0.6 + 1.0,  # the victim until it was noticed, the survivor until step 2
    }


def test_a_newcomer_starts_apart_and_the_pause_of_all_is_resize() -> None:
    told = two_workers()
    told.step(1, 16)
    told.placed(16.5, "w3")
    told.step(2, 17)
    told.warm(17.5, "w3")
    told.step(3, 18)
    told.formed(18.1, "w1", "w2", "w3")
    told.step(4, 19.2)
    told.ended(19.2)
    assert told.buckets() == {
        Bucket.START: 10.0 + 1.5,  # w3 from 16.5 until it was let in at 18
        Bucket.PRODUCTIVE: 6.0 + 3.0,
        Bucket.RESIZE: 0.6,
    }


def test_who_retires_is_resize_until_it_is_gone() -> None:
    told = two_workers()
    told.step(1, 16)
    told.formed(16.05, "w1")
    told.gone(16.4, "w2", EventKind.WORKER_RETIRED)
    told.step(2, 17.1)
    told.ended(17.1)
    assert told.buckets() == {Bucket.START: 10.0, Bucket.PRODUCTIVE: 3.0, Bucket.RESIZE: 0.4 + 0.1}


def test_below_the_minimum_survivors_are_idle_until_the_replacement_has_a_place() -> None:
    told = two_workers()
    told.minimum = 2
    told.step(1, 16)
    told.gone(16, "w2", EventKind.WORKER_LOST)
    assert told.buckets(over=False)[Bucket.START] == 10.0
    told.event(19, EventKind.WAITING_FOR_CAPACITY)
    assert told.buckets(over=False)[Bucket.IDLE] == 3.0
    told.placed(20, "w3")
    told.warm(22, "w3")
    told.formed(22.1, "w1", "w3")
    told.step(2, 24)
    told.ended(24)
    assert told.buckets() == {
        Bucket.START: 10.0 + 2.0,
        Bucket.PRODUCTIVE: 2.0 + 2.0,
        Bucket.IDLE: 4.0,
        Bucket.RECOVERY: 3.0 + 1.0,  # w1 from 20 to 23, w3 from 22
    }


def test_a_gang_that_waits_for_a_place_is_idle_and_one_that_starts_is_not() -> None:
    told = Told()
    told.placed(0, "w1")
    told.warm(2, "w1")
    told.placed(5, "w2")
    told.warm(8, "w2")
    told.formed(8, "w1", "w2")
    told.step(1, 9)
    told.ended(9)
    assert told.buckets() == {Bucket.START: 2 + 3 + 3, Bucket.IDLE: 3.0, Bucket.PRODUCTIVE: 2.0}


def test_steps_that_are_done_again_are_repeated_whoever_does_them() -> None:
    told = two_workers()
    for number in (1, 2, 3):
        told.step(number, 15 + number)
    told.next_attempt()  # the controller was killed: nobody said that w1 and w2 are gone
    told.event(30, EventKind.RUN_RESUMED)
    told.placed(31, "w1")
    told.warm(33, "w1")
    told.formed(33.1, "w1")
    told.step(2, 35)
    told.step(3, 36)
    told.step(4, 37)
    told.ended(37)
    assert told.buckets() == {
        Bucket.START: 10.0 + 2.0 + 1.0,
        Bucket.PRODUCTIVE: 6.0 + 1.0,
        Bucket.REPEATED: 2.0,
    }
    report = told.goodput()
    assert report.queue_s == pytest.approx(10 + 13)
    assert (report.attempts, report.steps, report.steps_repeated) == (2, 4, 2)


def test_a_checkpoint_that_holds_up_a_step_is_told_by_that_step() -> None:
    told = two_workers()
    told.step(1, 16)
    told.step(2, 17.5, checkpoint_wait_s=0.4)
    told.ended(17.5)
    assert told.buckets()[Bucket.CHECKPOINT] == 0.8
    assert told.buckets()[Bucket.PRODUCTIVE] == 5.0 - 0.8


def test_a_living_run_counts_as_far_as_its_records_go() -> None:
    told = two_workers()
    told.step(1, 16)
    assert told.goodput(over=False).worker_s == pytest.approx(12.0)
    told.placed(16.5, "w3")
    assert told.buckets(over=False) == {Bucket.START: 10.0, Bucket.PRODUCTIVE: 2.0 + 1.0}
    assert told.buckets(over=True)[Bucket.RECOVERY] == 1.0, "it broke off: the step in flight is lost"


def test_a_run_that_never_had_a_place_has_no_goodput_but_queue_time() -> None:
    told = Told()
    told.event(1, EventKind.RUN_STARTED)
    told.event(7, EventKind.WAITING_FOR_CAPACITY)
    report = told.goodput(over=False)
    assert (report.worker_s, report.goodput, report.queue_s) == (0, None, 7.0)
    assert set(report.buckets) == set(Bucket)


@pytest.mark.parametrize("seed", range(200))
def test_the_buckets_add_up_to_the_places_whatever_happened(seed: int) -> None:
    run = RandomRun(seed)
    for over in (True, False):
        report = run.told.goodput(over=over)
        assert min(report.buckets.values()) >= -1e-6, report
        assert report.worker_s == pytest.approx(run.granted, rel=1e-6, abs=1e-5)
        assert sum(report.buckets.values()) == pytest.approx(run.granted, rel=1e-6, abs=1e-5)


def test_queues_and_the_cluster_are_sums_of_runs() -> None:
    def run(name: str, productive: float, idle: float) -> RunGoodput:
        buckets = dict.fromkeys(Bucket, 0.0) | {
            Bucket.PRODUCTIVE: productive,
            Bucket.IDLE: idle,
        }
        return RunGoodput(run=name, worker_s=productive + idle, buckets=buckets, queue_s=1.0, steps=5)

    found = cluster_goodput([("b", run("x", 3, 1)), ("a", run("y", 1, 0)), ("b", run("z", 1, 3))])
    assert [(queue.queue, queue.runs, queue.goodput) for queue in found.queues] == [
        ("a", 1, 1.0),
        ("b", 2, 0.5),
    ]
    assert (found.runs, found.cluster.worker_s, found.cluster.queue_s) == (3, 9.0, 3.0)
    assert found.cluster.buckets[Bucket.PRODUCTIVE] == 5.0
    assert cluster_goodput([]).cluster.goodput is None
