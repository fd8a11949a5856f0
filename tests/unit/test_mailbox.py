from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from trainers.elastic import mailbox as module
from trainers.elastic.mailbox import Mailbox
from trainers.elastic.messages import Finished, Offer, Raised, Retired, WorkerProfile

WITHIN_S = 10.0
Apart = Callable[..., Future[Any]]


def offer(generation: int) -> Offer:
    return Offer(generation, ("w1",), ("node",), "127.0.0.1", 1, recorded_step=0)


PROFILE = WorkerProfile("w1", 42, "node", {"torch": "2.13"}, "127.0.0.1", 1, rows=10, num_steps=3)


@pytest.fixture
def apart() -> Iterator[Apart]:
    """Runs a call on a thread of its own, as the actor's calls are."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit


def test_the_newest_offer_counts_and_an_older_one_that_comes_late_is_ignored() -> None:
    mailbox = Mailbox()
    assert mailbox.newest() is None
    assert not mailbox.newer_than(0)
    mailbox.offer(offer(3))
    mailbox.offer(offer(2))
    assert mailbox.newest() == offer(3)
    assert mailbox.newer_than(2)
    assert not mailbox.newer_than(3)


def test_a_worker_that_waits_wakes_with_a_newer_generation_and_sleeps_through_its_own(apart: Apart) -> None:
    mailbox = Mailbox()
    mailbox.offer(offer(1))
    waiting = apart(mailbox.wait_newer_than, 1)
    mailbox.offer(offer(1))
    mailbox.offer(offer(4))
    assert waiting.result(WITHIN_S) == offer(4)
    assert mailbox.wait_newer_than(3) == offer(4), "already there"


def test_of_the_asks_for_a_checkpoint_the_one_that_was_said_last_counts() -> None:
    mailbox = Mailbox()
    assert mailbox.ask == 0
    mailbox.ask_for_checkpoint(1)
    assert mailbox.ask == 1
    mailbox.offer(replace(offer(2), ask=2))
    mailbox.offer(replace(offer(1), ask=1))
    assert mailbox.ask == 2, "an older generation says nothing"
    mailbox.offer(offer(3))
    assert mailbox.ask == 0, "it is answered"


def test_a_wish_to_stop_wakes_a_worker_for_which_no_generation_comes(
    apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LAST_CALL_S", 0.01)
    mailbox = Mailbox()
    assert not mailbox.stop_requested
    waiting = apart(mailbox.wait_newer_than, 0)
    mailbox.request_stop()
    assert waiting.result(WITHIN_S) is None
    assert mailbox.stop_requested


def test_after_a_wish_to_stop_a_group_may_still_meet_again(
    apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LAST_CALL_S", WITHIN_S)
    mailbox = Mailbox()
    mailbox.offer(offer(1))
    mailbox.request_stop()
    waiting = apart(mailbox.wait_newer_than, 1)
    mailbox.offer(offer(2))
    assert waiting.result(WITHIN_S / 2) == offer(2)


def test_the_watching_calls_return_when_the_worker_is_warm_and_when_it_is_over(apart: Apart) -> None:
    mailbox = Mailbox()
    warm, over = apart(mailbox.wait_warm), apart(mailbox.wait_over)
    mailbox.announce_warm(PROFILE)
    assert warm.result(WITHIN_S) == PROFILE
    assert not over.done()
    mailbox.announce_over(Finished(3, "p", "o"))
    assert over.result(WITHIN_S) == Finished(3, "p", "o")
    assert mailbox.wait_warm() == PROFILE, "it was warm, however it ended"


@pytest.mark.parametrize("outcome", [Raised(0, "ValueError: no", "traceback"), Retired()])
def test_a_worker_that_ends_before_it_is_warm_leaves_nobody_waiting(
    apart: Apart, outcome: Raised | Retired
) -> None:
    mailbox = Mailbox()
    warm, over = apart(mailbox.wait_warm), apart(mailbox.wait_over)
    mailbox.announce_over(outcome)
    assert warm.result(WITHIN_S) == outcome
    assert over.result(WITHIN_S) == outcome


def test_an_urgent_offer_wakes_who_waits_in_an_older_group_once_and_others_do_not() -> None:
    mailbox, woken = Mailbox(), []
    mailbox.offer(offer(1))
    mailbox.in_group(1, lambda: woken.append(1))
    mailbox.offer(offer(2))
    assert woken == [], "it leaves at the next step boundary"
    mailbox.offer(replace(offer(3), urgent=True))
    mailbox.offer(replace(offer(4), urgent=True))
    assert woken == [1]


def test_a_group_that_was_late_before_it_formed_is_woken_at_once() -> None:
    mailbox, woken = Mailbox(), []
    mailbox.offer(replace(offer(3), urgent=True))
    mailbox.in_group(2, lambda: woken.append(2))
    assert woken == [2]
