from dataclasses import dataclass

import pytest

from trainers.ray_train.lease import Lease


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> Lease:
    return Lease(10.0, clock)


def looked_at(lease: Lease, clock: Clock, beat: int | None, for_s: int) -> list[bool]:
    """What is seen at one look a second."""
    seen = []
    for _ in range(for_s):
        clock.now += 1.0
        seen.append(lease.lapsed(beat))
    return seen


def test_it_lapses_when_nobody_was_heard_of_for_the_grace(lease: Lease, clock: Clock) -> None:
    assert looked_at(lease, clock, None, 11) == [False] * 9 + [True] * 2


def test_a_driver_that_renews_holds_it(lease: Lease, clock: Clock) -> None:
    for _ in range(5):
        assert not any(looked_at(lease, clock, None, 9))
        lease.renew()
    assert looked_at(lease, clock, None, 10)[-1]


def test_a_beat_that_changes_holds_it_and_one_that_stands_still_does_not(lease: Lease, clock: Clock) -> None:
    for beat in range(5):
        assert not any(looked_at(lease, clock, beat, 9))
    assert looked_at(lease, clock, 4, 10)[-1]


def test_an_old_beat_that_was_there_at_the_first_look_says_nothing(lease: Lease, clock: Clock) -> None:
    assert looked_at(lease, clock, 7, 10)[-1]


def test_the_first_beat_of_a_service_counts(lease: Lease, clock: Clock) -> None:
    looked_at(lease, clock, None, 9)
    assert not any(looked_at(lease, clock, 1, 9))


def test_a_beat_that_cannot_be_seen_for_a_while_says_nothing(lease: Lease, clock: Clock) -> None:
    looked_at(lease, clock, 1, 3)
    assert looked_at(lease, clock, None, 7)[-1]


def test_a_controller_that_was_frozen_waits_for_the_grace_anew(lease: Lease, clock: Clock) -> None:
    looked_at(lease, clock, None, 3)
    clock.now += 3600
    assert not any(looked_at(lease, clock, None, 10))
    assert looked_at(lease, clock, None, 1) == [True]


def test_only_changes_count_whatever_the_beats_own_clock_says(lease: Lease, clock: Clock) -> None:
    looked_at(lease, clock, 5_000, 9)
    assert not any(looked_at(lease, clock, 17, 9))
