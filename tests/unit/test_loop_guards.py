"""What members do when their bits differ or a step is not finite: real loops and groups, in threads."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.domain.order import BatchPlan
from tests.unit.loops import BATCH, SHARDS, Member, loops
from trainers.elastic import mailbox as mailbox_module
from trainers.elastic.faults import FlipBit
from trainers.elastic.messages import Formed, ReplicasDiffer, Retired, StepNotFinite, StepsDone

torch.set_num_threads(1)
PLAN = BatchPlan(1000, BATCH, SHARDS, seed=3)


@pytest.fixture(autouse=True)
def no_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_module, "_LAST_CALL_S", 0.01)


def undisturbed(folder: Path, **options: Any) -> tuple[str, str]:
    with loops(folder, "z", **options) as referee:
        referee.offer("z")
        found = referee.finished("z")
        return found.parameters_sha256, found.optimizer_sha256


class FlipAt:
    """Flips a bit of one member's state after the step in which it sees a row."""

    def __init__(self, name: str, step: int, fault: FlipBit = FlipBit(tensor=0, octet=2, bit=4)):  # noqa: B008
        self._name, self._row, self._fault = (
            name,
            {PLAN.rows(step, shard)[0] for shard in range(SHARDS)},
            fault,
        )
        self._done = False

    def __call__(self, member: Member, rows: list[int]) -> None:
        if member.name == self._name and not self._done and self._row & set(rows):
            self._done = True
            member.mailbox.progress.inject(self._fault)


@pytest.mark.parametrize("tensor", [0, 1, 2, 4])
def test_the_minority_of_three_is_outvoted_at_the_next_comparison_and_the_others_do_its_steps_again(
    tmp_path: Path, tensor: int
) -> None:
    """A weight, a bias, and two tensors of the optimizer; the copy of step 4 is gone back to, not step 0."""
    flip = FlipAt("b", 5, FlipBit(tensor=tensor, octet=2, bit=4))
    with loops(tmp_path, "a", "b", "c", on_rows=flip) as referee:
        referee.offer("a", "b", "c")
        differ = referee.hear(ReplicasDiffer)
        assert (differ.step, differ.rewind_to, differ.outvoted) == (8, 7, ("b",))
        referee.offer("a", "c", rewind_to=differ.rewind_to)
        formed = referee.hear(Formed)
        assert (formed.step, formed.lost_steps) == (4, 4)
        found = [referee.finished(name) for name in "ac"]
        assert isinstance(referee.outcome("b"), Retired)
    expected = undisturbed(tmp_path / "alone")
    assert {(f.parameters_sha256, f.optimizer_sha256) for f in found} == {expected}


def test_before_the_first_comparison_they_go_back_to_the_beginning(tmp_path: Path) -> None:
    with loops(tmp_path, "a", "b", "c", on_rows=FlipAt("c", 1)) as referee:
        referee.offer("a", "b", "c")
        differ = referee.hear(ReplicasDiffer)
        assert (differ.step, differ.outvoted) == (4, ("c",))
        referee.offer("a", "b", rewind_to=differ.rewind_to)
        assert referee.hear(Formed).step == 0
        assert referee.finished("a").parameters_sha256 == undisturbed(tmp_path / "alone")[0]


def test_of_two_that_differ_none_is_outvoted_and_both_go_back(tmp_path: Path) -> None:
    with loops(tmp_path, "a", "b", on_rows=FlipAt("a", 6)) as referee:
        referee.offer("a", "b")
        differ = referee.hear(ReplicasDiffer)
        assert (differ.step, differ.outvoted, differ.members) == (8, (), ("a", "b"))
        referee.offer("a", "b", rewind_to=differ.rewind_to)
        assert referee.hear(Formed).step == 4
        assert referee.finished("b").parameters_sha256 == undisturbed(tmp_path / "alone")[0]


def test_a_difference_after_the_last_comparison_is_found_before_the_last_checkpoint(tmp_path: Path) -> None:
    with loops(tmp_path, "a", "b", "c", verify_every=100, on_rows=FlipAt("a", 7)) as referee:
        referee.offer("a", "b", "c")
        differ = referee.hear(ReplicasDiffer)
        assert (differ.step, differ.outvoted) == (12, ("a",))
        assert list(tmp_path.glob("step-*")) == []
        referee.offer("b", "c", rewind_to=differ.rewind_to)
        assert referee.finished("b").parameters_sha256 == undisturbed(tmp_path / "alone")[0]


def test_survivors_that_bring_different_bits_to_a_new_generation_are_told_apart_there(tmp_path: Path) -> None:
    """A newcomer would have been given the bits of whoever has rank 0."""

    def on_rows(member: Member, rows: list[int]) -> None:
        flip(member, rows)
        if member.name == "b" and rows == PLAN.rows(6, 2) and not offered.is_set():
            offered.set()
            referee.offer("a", "b", "c")  # published while step 6 is computed; nothing was compared since 4

    flip, offered = FlipAt("a", 5), threading.Event()
    with loops(tmp_path, "a", "b", "c", on_rows=on_rows) as referee:
        referee.offer("a", "b")
        differ = referee.hear(ReplicasDiffer)
        assert differ.generation == 2
        assert differ.step in (6, 7)
        assert set(differ.members) == {"a", "b"}
        referee.offer("a", "b", "c", rewind_to=differ.rewind_to)
        assert referee.hear(Formed).step == 4
        assert referee.finished("c").parameters_sha256 == undisturbed(tmp_path / "alone")[0]


def test_a_copy_that_was_damaged_in_memory_is_not_gone_back_to(tmp_path: Path) -> None:
    with loops(tmp_path, "a", "b", "c", on_rows=FlipAt("b", 6)) as referee:
        referee.offer("a", "b", "c")
        differ = referee.hear(ReplicasDiffer)
        for name in "ac":
            kept = referee.members[name]._loop._verification._kept
            kept["model"]["weight"][0, 0] += 1
        referee.offer("a", "c", rewind_to=differ.rewind_to)
        assert referee.hear(Formed).step == 0
        assert referee.finished("a").parameters_sha256 == undisturbed(tmp_path / "alone")[0]


def test_verify_every_0_compares_nothing(tmp_path: Path) -> None:
    with loops(tmp_path, "a", "b", verify_every=0, on_rows=FlipAt("a", 6)) as referee:
        referee.offer("a", "b")
        found = {referee.finished(name).parameters_sha256 for name in "ab"}
    assert len(found) == 2
    assert not [report for report in referee.heard if isinstance(report, ReplicasDiffer)]


def nan_in(step: int, shard: int) -> Any:
    rows = PLAN.rows(step, shard)
    return lambda member, seen: float("nan") if seen == rows else None


def test_a_step_that_is_not_finite_is_rolled_back_once_and_then_gives_the_bits_of_skip(
    tmp_path: Path,
) -> None:
    skip = undisturbed(tmp_path / "alone", on_rows=nan_in(6, 3))
    with loops(tmp_path, "a", "b", on_nan="rollback", on_rows=nan_in(6, 3)) as referee:
        referee.offer("a", "b")
        found = referee.hear(StepNotFinite)
        assert (found.step, found.shard, found.what, found.culprit) == (6, 3, "loss", "b")
        assert (found.epoch, found.first, found.last) == PLAN.shard_span(6, 3)
        referee.offer("a", "b", rewind_to=5, tolerated=(6,))
        assert referee.hear(Formed).step == 4
        assert {referee.finished(name).parameters_sha256 for name in "ab"} == {skip[0]}
    steps = [point for report in referee.heard if isinstance(report, StepsDone) for point in report.points]
    assert {point.step for point in steps if point.skipped} <= {6}
    assert [report.generation for report in referee.heard if isinstance(report, StepNotFinite)].count(2) == 0


def test_where_every_shard_is_finite_and_the_sum_is_not_no_worker_is_blamed(tmp_path: Path) -> None:
    def huge(member: Member, rows: list[int]) -> float | None:
        return 1e25 if any(set(rows) <= set(PLAN.rows(3, shard)) for shard in range(SHARDS)) else None

    with loops(tmp_path, "a", "b", on_nan="fail", on_rows=huge) as referee:
        referee.offer("a", "b")
        found = referee.hear(StepNotFinite)
        assert (found.step, found.shard, found.culprit) == (3, -1, "")
        assert (found.epoch, found.first, found.last) == PLAN.span(3)


def test_under_skip_the_worker_that_made_the_step_not_finite_says_so_itself(tmp_path: Path) -> None:
    with loops(tmp_path, "a", "b", on_rows=nan_in(2, 0)) as referee:
        referee.offer("a", "b")
        found = referee.hear(StepNotFinite)
        assert (found.worker_id, found.culprit, found.step, found.shard) == ("a", "a", 2, 0)
        assert {referee.finished(name).step for name in "ab"} == {12}


def test_an_urgent_offer_wakes_those_who_wait_for_one_that_is_frozen(tmp_path: Path) -> None:
    """Its connections are open, so nothing but the offer tells them."""

    thaw, frozen = threading.Event(), threading.Event()

    def on_rows(member: Member, rows: list[int]) -> None:
        if member.name == "b" and rows == PLAN.rows(3, 3):
            frozen.set()
            thaw.wait(30)

    with loops(tmp_path, "a", "b", on_rows=on_rows) as referee:
        referee.offer("a", "b")
        assert frozen.wait(10)
        referee.offer("a", urgent=True)
        assert referee.finished("a").parameters_sha256 == undisturbed(tmp_path / "alone")[0]
        assert not thaw.is_set()
        thaw.set()
        assert isinstance(referee.outcome("b"), Retired), "the zombie finds itself left out, and ends"
