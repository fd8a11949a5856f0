"""A checkpoint that somebody wishes for: one for each wish, whatever happens to the group."""

import queue
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.domain.order import BatchPlan
from tests.unit.loops import BATCH, SHARDS, WITHIN_S, Member, Referee, loops
from trainers.elastic import mailbox as mailbox_module
from trainers.elastic.messages import Finished, Formed, GroupBroken, PartsWritten
from trainers.ray_train.checkpoint_wish import CheckpointWish

torch.set_num_threads(1)
PLAN = BatchPlan(1000, BATCH, SHARDS, seed=3)


@pytest.fixture(autouse=True)
def no_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_module, "_LAST_CALL_S", 0.01)


class At:
    """Does something in the forward pass of a step of one member, once."""

    def __init__(self, what: dict[tuple[str, int], Any]) -> None:
        self._what = {
            (name, PLAN.rows(step, shard)[0]): (name, step) for name, step in what for shard in range(SHARDS)
        }
        self._left = dict(what)

    def __call__(self, member: Member, rows: list[int]) -> None:
        for row in rows:
            key = self._what.get((member.name, row))
            if key is not None and key in self._left:
                self._left.pop(key)(member)


def asks(ask: int) -> Any:
    return lambda member: member.mailbox.ask_for_checkpoint(ask)


def saved(referee: Referee) -> list[tuple[int, int, int, int]]:
    """(generation, step, ask, members) of each checkpoint that all members wrote, but for the last step."""
    heard = [*referee.heard]
    while True:
        try:
            heard.append(referee._reports.get_nowait())
        except queue.Empty:
            break
    parts = [report for report in heard if isinstance(report, PartsWritten) and report.step < 12]
    found = []
    for key in sorted({(part.generation, part.step, part.ask) for part in parts}):
        members = [part for part in parts if (part.generation, part.step, part.ask) == key]
        assert sum(part.last - part.first for part in members) == SHARDS
        found.append((*key, len(members)))
    return found


def test_a_wish_is_over_with_the_first_checkpoint_that_answers_it() -> None:
    wish = CheckpointWish()
    assert (wish.ask, wish.answered(0)) == (0, 0)
    wish.again()
    assert wish.ask == 0, "nobody wishes for anything"
    wish.want(7)
    assert wish.ask == 1
    assert wish.answered(0) == 0, "that one was due by itself"
    wish.again()
    assert wish.ask == 2
    assert wish.answered(1) == 7
    assert (wish.ask, wish.answered(2)) == (0, 0)
    wish.want(9)
    assert wish.ask == 3
    assert wish.answered(2) == 0, "it answered the wish before"
    assert wish.answered(3) == 9


def test_all_members_save_at_the_same_step_though_they_are_asked_at_different_ones(tmp_path: Path) -> None:
    heard = At({("a", 3): asks(1), ("b", 4): asks(1), ("c", 9): asks(1)})
    with loops(tmp_path, "a", "b", "c", on_rows=heard) as referee:
        referee.offer("a", "b", "c")
        ends = [referee.finished(name) for name in "abc"]
        found = saved(referee)
    ((generation, step, ask, members),) = found
    assert (generation, ask, members) == (1, 1, 3)
    assert step in (3, 4), "the step in which it was heard, or the next"
    assert len({end.parameters_sha256 for end in ends}) == 1


def test_every_wish_is_answered_once(tmp_path: Path) -> None:
    heard = At({("a", 2): asks(1), ("b", 5): asks(1), ("b", 7): asks(2), ("a", 10): asks(2)})
    with loops(tmp_path, "a", "b", on_rows=heard) as referee:
        referee.offer("a", "b")
        for name in "ab":
            referee.finished(name)
        found = saved(referee)
    assert [(ask, members) for _, _, ask, members in found] == [(1, 2), (2, 2)]


def test_a_wish_that_came_between_generations_is_answered_by_the_next(tmp_path: Path) -> None:
    with loops(tmp_path, "a", "b") as referee:
        referee.offer("a", "b", ask=4)
        for name in "ab":
            referee.finished(name)
        found = saved(referee)
    assert found == [(1, 1, 4, 2)]


def test_what_a_member_answered_in_the_generation_before_a_newcomer_does_not_do_again(tmp_path: Path) -> None:
    """The offer was made before all parts were written, so it asks for them still."""
    grown = threading.Event()
    heard = At({("a", 3): asks(1), ("b", 6): lambda member: grown.wait(WITHIN_S)})
    with loops(tmp_path, "a", "b", "c", on_rows=heard) as referee:
        referee.offer("a", "b")
        referee.hear(PartsWritten)
        referee.offer("a", "b", "c", ask=1)
        grown.set()
        assert referee.hear(Formed).step > 4
        for name in "abc":
            referee.finished(name)
        found = saved(referee)
    assert [(generation, ask) for generation, _, ask, _ in found] == [(1, 1)]


def test_a_group_that_switches_at_the_step_of_the_wish_leaves_it_to_the_next(tmp_path: Path) -> None:
    arrived, switched = threading.Event(), threading.Event()

    def both(member: Member) -> None:
        member.mailbox.ask_for_checkpoint(1)
        arrived.set()
        switched.wait(WITHIN_S)

    with loops(tmp_path, "a", "b", "c", on_rows=At({("a", 4): both})) as referee:
        referee.offer("a", "b")
        assert arrived.wait(WITHIN_S)
        referee.offer("a", "b", "c", ask=1)
        switched.set()
        for name in "abc":
            referee.finished(name)
        found = saved(referee)
    assert [(generation, ask, members) for generation, _, ask, members in found] == [(2, 1, 3)]


def test_after_a_loss_the_survivors_do_it_anew(tmp_path: Path) -> None:
    def dies(member: Member) -> None:
        raise RuntimeError("killed")

    heard = At({("a", 3): asks(1), ("b", 6): dies})
    with loops(tmp_path, "a", "b", on_rows=heard) as referee:
        referee.offer("a", "b")
        referee.hear(GroupBroken)
        referee.offer("a", ask=2)
        assert isinstance(referee.outcome("a"), Finished)
        found = [(generation, ask) for generation, _, ask, _ in saved(referee)]
    assert found == [(1, 1), (2, 2)]


def test_a_stop_at_the_step_of_the_wish_answers_it_with_the_last_checkpoint(tmp_path: Path) -> None:
    def both(member: Member) -> None:
        member.mailbox.ask_for_checkpoint(1)
        member.mailbox.request_stop()

    with loops(tmp_path, "a", "b", on_rows=At({("a", 4): both})) as referee:
        referee.offer("a", "b")
        ends = [referee.finished(name) for name in "ab"]
    assert [end.saved and end.saved.ask for end in ends] == [1, 1]
