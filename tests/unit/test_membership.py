import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.domain.membership import Generation, Roster, WorkerPhase

REQUESTED, STARTING, WARM, ACTIVE, RETIRING = WorkerPhase
MOST = 6


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens to workers, one thing at a time, the roster is asked afterwards what is next."""

    @initialize(minimum=st.integers(1, 3), more=st.integers(0, 3))
    def begin(self, minimum: int, more: int) -> None:
        self.roster = Roster(minimum=minimum, target=minimum + more)
        self.num_asked = 0
        self.settle(reason=False)

    @precondition(lambda self: self.roster.workers(REQUESTED))
    @rule(data=st.data())
    def a_place_is_granted(self, data: st.DataObject) -> None:
        self.roster.starting(self.one_of(data, REQUESTED))
        self.settle(reason=False)

    @precondition(lambda self: self.roster.workers(STARTING))
    @rule(data=st.data())
    def a_worker_becomes_warm(self, data: st.DataObject) -> None:
        self.roster.warm(self.one_of(data, STARTING))
        self.settle(reason=True)

    @precondition(lambda self: self.roster.workers())
    @rule(data=st.data())
    def a_worker_is_lost(self, data: st.DataObject) -> None:
        worker = self.one_of(data, *WorkerPhase)
        member = worker in self.roster.generation.members
        assert self.roster.gone(worker) == member
        assert self.roster.phase(worker) is None
        self.settle(reason=member)

    @precondition(lambda self: self.roster.workers(ACTIVE))
    @rule(age=st.integers(0, 2))
    def a_collective_fails(self, age: int) -> None:
        self.roster.broken(self.roster.generation.number - age)
        self.settle(reason=age == 0)

    @rule(more=st.integers(0, MOST))
    def the_target_changes(self, more: int) -> None:
        self.roster.target = self.roster.minimum + more
        self.settle(reason=len(self.roster.workers(ACTIVE)) > self.roster.target)

    @invariant()
    def no_more_workers_are_asked_for_than_the_target(self) -> None:
        counted = self.roster.workers(REQUESTED, STARTING, WARM, ACTIVE)
        assert len(counted) == self.roster.target
        assert self.roster.missing() == 0
        assert self.roster.surplus() == []
        assert len(self.roster.generation.members) <= self.roster.target

    def one_of(self, data: st.DataObject, *phases: WorkerPhase) -> str:
        return data.draw(st.sampled_from(self.roster.workers(*phases)))

    def settle(self, *, reason: bool) -> None:
        """What a worker group does after everything that happens. `reason`: there is one for a new
        generation."""
        roster = self.roster
        before = {worker: roster.phase(worker) for worker in roster.workers()}
        for worker in roster.surplus():
            if before[worker] is ACTIVE:
                assert not roster.workers(REQUESTED, STARTING, WARM), "one that is of use leaves last"
                roster.retire(worker)
            else:
                roster.gone(worker)
        for _ in range(roster.missing()):
            self.num_asked += 1
            roster.requested(f"w{self.num_asked}")
        ready, active = roster.workers(WARM, ACTIVE), roster.workers(ACTIVE)
        waits_for_starters = not active and bool(roster.workers(STARTING))
        old, new = roster.generation, roster.next_generation()
        if new is None:
            assert roster.generation == old
            can = len(ready) >= roster.minimum and not waits_for_starters
            assert not can or (not reason and not roster.workers(WARM))
            return
        self.check_step(old, new, ready, active)
        assert roster.next_generation() is None, "nothing happened since"

    def check_step(self, old: Generation, new: Generation, ready: list[str], active: list[str]) -> None:
        assert self.roster.generation == new
        assert new.number == old.number + 1
        assert sorted(new.members) == sorted(ready), "exactly those that were warm or active"
        assert len(new.members) >= self.roster.minimum
        survivors = [worker for worker in old.members if worker in active]
        assert list(new.members[: len(survivors)]) == survivors, "the order of survivors changed"
        assert [new.rank(worker) for worker in new.members] == list(range(len(new.members)))
        assert self.roster.workers(ACTIVE)
        assert not self.roster.workers(WARM)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def formed(minimum: int, target: int, *workers: str) -> Roster:
    roster = Roster(minimum=minimum, target=target)
    for worker in workers:
        roster.requested(worker)
        roster.starting(worker)
        roster.warm(worker)
    assert roster.next_generation() == Generation(1, workers)
    return roster


def test_those_that_have_a_place_come_into_the_first_generation_together() -> None:
    roster = Roster(minimum=1, target=3)
    for worker in ("a", "b", "c"):
        roster.requested(worker)
    roster.starting("b")
    roster.starting("a")
    roster.warm("b")
    assert roster.next_generation() is None
    roster.warm("a")
    assert roster.next_generation() == Generation(1, ("a", "b")), "c has no place yet; nobody waits for it"


def test_survivors_go_on_at_once_and_take_a_replacement_in_when_it_is_warm() -> None:
    roster = formed(1, 3, "a", "b", "c")
    assert roster.gone("a")
    roster.requested("d")
    roster.starting("d")
    assert roster.next_generation() == Generation(2, ("b", "c"))
    assert roster.next_generation() is None
    roster.warm("d")
    assert roster.next_generation() == Generation(3, ("b", "c", "d"))


def test_fewer_than_the_minimum_wait_and_keep_their_ranks_in_order() -> None:
    roster = formed(2, 2, "a", "b")
    assert roster.gone("a")
    assert roster.next_generation() is None
    roster.requested("c")
    roster.starting("c")
    roster.warm("c")
    assert roster.next_generation() == Generation(2, ("b", "c"))


def test_a_worker_that_retires_is_left_out_and_is_no_loss_when_it_goes() -> None:
    roster = formed(1, 3, "a", "b", "c")
    roster.target = 2
    assert roster.surplus() == ["c"]
    roster.retire("c")
    assert roster.next_generation() == Generation(2, ("a", "b"))
    assert roster.workers(RETIRING) == ["c"]
    assert not roster.gone("c")
    assert roster.next_generation() is None


def test_a_group_that_broke_is_formed_anew_of_the_same_members_and_old_news_of_it_is_ignored() -> None:
    roster = formed(2, 2, "a", "b")
    roster.broken(1)
    assert roster.next_generation() == Generation(2, ("a", "b"))
    roster.broken(1)
    assert roster.next_generation() is None


@pytest.mark.parametrize("phase", [REQUESTED, STARTING, WARM])
def test_only_an_active_worker_can_retire(phase: WorkerPhase) -> None:
    roster = Roster(minimum=1, target=1)
    {REQUESTED: roster.requested, STARTING: roster.starting, WARM: roster.warm}[phase]("a")
    roster.retire("a")
    assert roster.phase("a") is phase


def test_who_is_to_be_replaced_leaves_at_once_where_the_target_fell() -> None:
    roster = formed(1, 3, "a", "b", "c")
    roster.replace("a")
    assert roster.missing() == 1
    roster.target = 2
    assert roster.missing() == 0
    assert roster.surplus() == ["a"], "b and c are enough"
    roster.target = 1
    assert roster.surplus() == ["c", "a"]


def test_who_need_not_be_replaced_after_all_stays() -> None:
    roster = formed(1, 2, "a", "b")
    roster.replace("a")
    assert roster.leaving() == ["a"]
    roster.keep("a")
    assert (roster.leaving(), roster.missing(), roster.surplus()) == ([], 0, [])
