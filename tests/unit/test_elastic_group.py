import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch.distributed import TCPStore

from tests.unit.gang import HOST, gang
from trainers.elastic import group as module
from trainers.elastic.group import (
    ElasticGroup,
    GroupBrokenError,
    Meeting,
    SupersededError,
    open_meeting_place,
)
from trainers.elastic.messages import Offer

torch.set_num_threads(1)

WITHIN_S = 20.0
AT_ONCE_S = 2.0
"""Far less than any patience here."""
# torch asks a name server what a peer's address is called; one that does not answer costs this much.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")


@pytest.fixture(scope="module")
def place() -> Iterator[TCPStore]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(open_meeting_place, HOST).result(WITHIN_S)


@pytest.fixture
def offer(place: TCPStore, request: pytest.FixtureRequest) -> Offer:
    """Of a generation of three; each test has a number of its own, since all meet at one place."""
    number = sum(request.node.nodeid.encode()) * 1000
    return Offer(number, ("a", "b", "c"), ("n", "n", "n"), HOST, place.port, recorded_step=0)


@pytest.fixture
def apart() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor() as pool:
        yield pool.submit


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """One that is still inside torch when the interpreter ends would abort it."""
    yield
    for thread in threading.enumerate():
        if thread.name == "meeting":
            thread.join(WITHIN_S)


def never() -> bool:
    return False


def meet(offer: Offer, rank: int, *, patience_s: float = WITHIN_S) -> float:
    """Join and send a number around; the sum of all ranks."""
    store = Meeting(offer, rank, patience_s).join(never)
    size = len(offer.members)
    with ElasticGroup(store, rank, size, backend="gloo", host=HOST, timeout_s=patience_s) as group:
        return float(sum(group.gather(torch.tensor(float(rank)))))


def test_members_that_were_offered_a_generation_meet_and_reach_each_other(offer: Offer, apart: Any) -> None:
    meetings = [apart(meet, offer, rank) for rank in range(3)]
    assert [meeting.result(WITHIN_S) for meeting in meetings] == [3.0, 3.0, 3.0]


def test_generations_that_meet_at_one_place_know_nothing_of_each_other(offer: Offer, apart: Any) -> None:
    newer = replace(offer, generation=offer.generation + 1)
    early = apart(lambda: Meeting(newer, 0, 0.3).join(never))
    meetings = [apart(meet, offer, rank) for rank in range(3)]
    assert [meeting.result(WITHIN_S) for meeting in meetings] == [3.0, 3.0, 3.0]
    with pytest.raises(GroupBrokenError) as caught:
        early.result(WITHIN_S)
    assert caught.value.absent == ("b", "c"), "who came to the generation before did not come to this one"


def test_a_joiner_that_never_comes_is_named(offer: Offer, apart: Any) -> None:
    def join(rank: int) -> None:
        Meeting(offer, rank, 0.3).join(never)

    for waiting in [apart(join, rank) for rank in (0, 2)]:
        with pytest.raises(GroupBrokenError, match="not everybody came") as caught:
            waiting.result(WITHIN_S)
        assert caught.value.absent == ("b",)


def test_a_newer_offer_ends_a_meeting_that_waits(offer: Offer, apart: Any) -> None:
    newer, asked = threading.Event(), threading.Event()

    def superseded() -> bool:
        asked.set()
        return newer.is_set()

    def join() -> None:
        Meeting(offer, 0, WITHIN_S).join(superseded)

    waiting = apart(join)
    assert asked.wait(WITHIN_S)
    assert not waiting.done()
    newer.set()
    with pytest.raises(SupersededError):
        waiting.result(AT_ONCE_S)


def test_a_meeting_place_that_is_gone_is_a_broken_group(
    offer: Offer, apart: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", timedelta(seconds=0.1))
    nobody = Meeting(replace(offer, store_port=1), 1, WITHIN_S)
    with pytest.raises(GroupBrokenError, match="the meeting place is gone") as caught:
        apart(nobody.join, never).result(WITHIN_S)
    assert caught.value.absent == ()


def test_the_host_of_a_meeting_place_that_does_not_answer_is_named(
    offer: Offer, apart: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NO_ANSWER_S", 0.8)  # for how long the thread behind it goes on asking
    with socket.create_server((HOST, 0)) as frozen:  # takes the connection, as the kernel does, and no more
        meeting = Meeting(replace(offer, store_port=frozen.getsockname()[1]), 1, 0.2)
        with pytest.raises(GroupBrokenError, match="does not answer") as caught:
            apart(meeting.join, never).result(AT_ONCE_S)
    assert caught.value.absent == ("a",)


def test_a_peer_that_closes_in_the_middle_wakes_all_who_wait_for_it() -> None:
    def work(group: ElasticGroup) -> float:
        everybody = [torch.empty(1000) for _ in range(group.size)]
        group.exchange([torch.ones(1000)] * group.size, everybody)
        begun = time.monotonic()
        if group.rank == 1:
            group.close()
            return 0.0
        with pytest.raises(GroupBrokenError):
            group.gather(torch.ones(1000))
        took_s = time.monotonic() - begun
        with pytest.raises(GroupBrokenError, match="the group is closed"):
            group.gather(torch.ones(1000))
        return took_s

    assert max(gang(4, work, timeout_s=WITHIN_S)) < AT_ONCE_S


def test_a_member_that_raises_breaks_the_group_and_its_error_stays_its_own() -> None:
    def work(group: ElasticGroup) -> str:
        try:
            with group:
                if group.rank == 0:
                    raise ZeroDivisionError
                group.gather(torch.ones(1))
        except (ZeroDivisionError, GroupBrokenError) as error:
            return type(error).__name__
        return "nothing"

    assert gang(3, work, timeout_s=WITHIN_S) == ["ZeroDivisionError", "GroupBrokenError", "GroupBrokenError"]


def test_a_peer_that_keeps_the_others_waiting_too_long_breaks_the_group() -> None:
    done = threading.Event()

    def work(group: ElasticGroup) -> None:
        if group.rank == 0:
            done.wait(WITHIN_S)
            return
        with pytest.raises(GroupBrokenError):
            group.gather(torch.ones(1))
        done.set()

    gang(2, work, timeout_s=0.3)
    assert done.is_set()


def test_a_closed_group_refuses_to_exchange() -> None:
    def work(group: ElasticGroup) -> None:
        group.gather(torch.ones(1))
        group.close()
        group.close()
        with pytest.raises(GroupBrokenError, match="the group is closed"):
            group.gather(torch.ones(1))

    gang(2, work)


def test_tensors_arrive_in_the_order_in_which_they_were_sent_whatever_their_types() -> None:
    sent = [torch.arange(5), torch.rand(2, 3), torch.tensor(7.0, dtype=torch.float64), torch.ones(3) > 0]

    def work(group: ElasticGroup) -> list[torch.Tensor]:
        if group.rank == 1:
            group.send(sent, 0)
            return sent
        received = [torch.empty_like(tensor) for tensor in sent]
        group.receive(received, 1)
        return received

    received, _ = gang(2, work)
    assert all(torch.equal(one, other) for one, other in zip(received, sent, strict=True))


def test_a_lone_member_needs_no_connection() -> None:
    assert gang(1, lambda group: [t.tolist() for t in group.gather(torch.ones(2))]) == [[[1.0, 1.0]]]


def test_closing_wakes_peers_though_messages_of_ours_are_under_way() -> None:
    """They hold the connections open until they are dropped."""

    def work(group: ElasticGroup) -> float:
        begun = time.monotonic()
        if group.rank == 0:
            everybody = [torch.empty(1000) for _ in range(group.size)]
            under_way = group.start_exchange([torch.ones(1000)] * group.size, everybody, tag=3)
            group.close()
            with pytest.raises(GroupBrokenError, match="the group is closed"):
                under_way.wait()
            return time.monotonic() - begun
        with pytest.raises(GroupBrokenError):
            group.gather(torch.ones(1000))
        return time.monotonic() - begun

    assert max(gang(3, work, timeout_s=WITHIN_S)) < AT_ONCE_S


def test_messages_of_different_tags_may_overtake_each_other() -> None:
    def work(group: ElasticGroup) -> list[float]:
        first, second = ([torch.empty(1) for _ in range(2)] for _ in range(2))
        order = [(1, first, 10.0), (2, second, 20.0)]
        for tag, incoming, value in order if group.rank else reversed(order):
            group.start_exchange([torch.tensor([value + group.rank])] * 2, incoming, tag)
        group.gather(torch.zeros(1))
        return [float(incoming[1 - group.rank]) for _, incoming, _ in order]

    assert gang(2, work) == [[11.0, 21.0], [10.0, 20.0]]
