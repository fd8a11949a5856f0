import threading
import time

import pytest

from orchestrator.domain.vigil import Phase
from trainers.elastic import progress as module
from trainers.elastic.faults import FlipBit, NotANumber, Slow, Stall
from trainers.elastic.progress import Progress


class Clock:
    now = 50.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_pulse_tells_the_phase_whether_it_waits_and_since_when_it_has_not_moved(clock: Clock) -> None:
    progress = Progress()
    progress.enter(Phase.STEP)
    clock.now += 2.0
    pulse = progress.pulse()
    assert (pulse.phase, pulse.waiting, pulse.still_s) == (Phase.STEP, False, 2.0)
    progress.shard()
    assert progress.pulse().still_s == 0.0
    with progress.waiting():
        clock.now += 3.0
        assert progress.pulse().waiting
        assert progress.pulse().still_s == 3.0
    assert not progress.pulse().waiting


def test_what_is_computed_ends_where_waiting_begins(clock: Clock) -> None:
    progress = Progress()
    for _ in range(3):
        progress.shard()
        clock.now += 0.5
    with progress.waiting():
        clock.now += 10.0
    with progress.waiting():
        clock.now += 10.0
    assert progress.take_computed_s() == 1.5
    assert progress.take_computed_s() == 0.0


def test_a_slow_worker_takes_longer_for_each_shard_and_a_stall_comes_once(clock: Clock) -> None:
    progress = Progress()
    progress.inject(Slow(0.25))
    progress.inject(Stall(7.0))
    begun = clock.now
    progress.shard()
    progress.shard()
    assert clock.now - begun == 7.5


def test_a_loss_that_is_no_number_is_so_once() -> None:
    progress = Progress()
    progress.inject(NotANumber())
    assert [progress.shard() for _ in range(3)] == [True, False, False]


def test_flips_are_taken_once() -> None:
    progress = Progress()
    progress.inject(FlipBit(1, 2, 3))
    assert progress.take_flips() == [FlipBit(1, 2, 3)]
    assert progress.take_flips() == []


def test_phases_that_may_take_long_are_announced_and_ordinary_ones_are_not() -> None:
    progress, told = Progress(), []
    progress.begin(told.append)
    for phase in (
        Phase.MEET,
        Phase.FIRST_STEP,
        Phase.STEP,
        Phase.MEET,
        Phase.STEP,
        Phase.CHECKPOINT,
        Phase.STEP,
    ):
        progress.enter(phase)
    assert told == [Phase.MEET, Phase.FIRST_STEP, Phase.STEP, Phase.CHECKPOINT, Phase.STEP]


def test_a_thread_that_computes_is_busy_and_one_that_stands_still_is_not() -> None:
    progress, begun, spun, done = Progress(), threading.Event(), threading.Event(), threading.Event()

    def train() -> None:
        progress.begin(lambda phase: None)
        begun.set()
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        spun.set()
        done.wait(10)

    thread = threading.Thread(target=train)
    thread.start()
    assert begun.wait(10)
    assert spun.wait(10)
    assert progress.pulse().cpu_s >= 0.05
    progress._moved()
    assert not progress.pulse().busy
    done.set()
    thread.join()
    assert progress.pulse().cpu_s >= 0.0, "its clock is gone with it"
