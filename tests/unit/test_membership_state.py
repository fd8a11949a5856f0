"""Whoever leaves, the state stays in the group: newcomers copy it before its last holder goes."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from orchestrator.domain.membership import Generation, Roster, WorkerPhase

REQUESTED, STARTING, WARM, ACTIVE, RETIRING = WorkerPhase


def fill_up(roster: Roster, num_asked: int) -> int:
    """What a worker group does about who is too many and who is missing."""
    for worker in roster.surplus():
        if roster.phase(worker) is ACTIVE:
            roster.retire(worker)
        else:
            roster.gone(worker)
    for number in range(num_asked, num_asked + (missing := roster.missing())):
        roster.requested(f"w{number}")
    return num_asked + missing


class AnyFarewells(RuleBasedStateMachine):
    """Workers come, are to be replaced, and are lost, in any order."""

    @initialize(minimum=st.integers(1, 2), more=st.integers(0, 2))
    def begin(self, minimum: int, more: int) -> None:
        self.roster = Roster(minimum, minimum + more, most=8)
        self.num_asked = 0
        self.holders: set[str] = set()
        self.settle()

    @precondition(lambda self: self.roster.workers(REQUESTED))
    @rule(data=st.data())
    def a_place_is_granted(self, data: st.DataObject) -> None:
        self.roster.starting(self.one_of(data, REQUESTED))
        self.settle()

    @precondition(lambda self: self.roster.workers(STARTING))
    @rule(data=st.data())
    def a_worker_becomes_warm(self, data: st.DataObject) -> None:
        self.roster.warm(self.one_of(data, STARTING))
        self.settle()

    @rule()
    def the_generation_forms(self) -> None:
        generation = self.roster.generation
        self.roster.formed(generation.number)
        if self.holders & set(generation.members) or not self.holders:
            self.holders = set(generation.members)
        self.settle()

    @precondition(lambda self: self.roster.workers(ACTIVE))
    @rule(data=st.data())
    def a_node_drains(self, data: st.DataObject) -> None:
        self.roster.replace(self.one_of(data, ACTIVE))
        self.settle()

    @precondition(lambda self: self.roster.workers())
    @rule(data=st.data())
    def a_worker_is_lost(self, data: st.DataObject) -> None:
        worker = self.one_of(data, *WorkerPhase)
        self.roster.gone(worker)
        self.holders.discard(worker)
        self.settle()

    @rule(more=st.integers(0, 2))
    def the_target_changes(self, more: int) -> None:
        self.roster.target = self.roster.minimum + more
        self.settle()

    def one_of(self, data: st.DataObject, *phases: WorkerPhase) -> str:
        return data.draw(st.sampled_from(self.roster.workers(*phases)))

    def settle(self) -> None:
        before = self.holders & set(self.roster.workers(ACTIVE))
        self.num_asked = fill_up(self.roster, self.num_asked)
        self.roster.next_generation()
        assert not before or before & set(self.roster.workers(ACTIVE)), "nobody is left who has the state"


TestAnyFarewells = AnyFarewells.TestCase
TestAnyFarewells.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


def begun(*workers: str, target: int, most: int = 8) -> Roster:
    """A group that has met."""
    roster = Roster(1, target, most=most)
    for worker in workers:
        warm(roster, worker)
    assert roster.next_generation() == Generation(1, workers)
    roster.formed(1)
    return roster


def warm(roster: Roster, worker: str) -> None:
    roster.requested(worker)
    roster.starting(worker)
    roster.warm(worker)


def test_a_single_worker_leaves_when_its_replacement_has_the_state() -> None:
    roster = begun("a", target=1)
    roster.replace("a")
    warm(roster, "b")
    assert roster.next_generation() == Generation(2, ("a", "b"))
    assert roster.surplus() == []
    roster.formed(2)
    assert roster.surplus() == ["a"]
    roster.retire("a")
    assert roster.next_generation() == Generation(3, ("b",))


def test_two_leave_for_one_newcomer_one_after_the_other() -> None:
    roster = begun("a", "b", target=2)
    roster.replace("a")
    roster.replace("b")
    roster.target = 1
    warm(roster, "c")
    assert roster.next_generation() == Generation(2, ("b", "c"))
    assert roster.surplus() == []
    roster.formed(1)
    assert roster.surplus() == [], "that was the generation before"
    roster.formed(2)
    assert roster.surplus() == ["b"]


def test_no_generation_has_more_members_than_logical_shards() -> None:
    roster = begun("a", target=1, most=1)
    roster.replace("a")
    warm(roster, "b")
    assert roster.next_generation() == Generation(2, ("b",)), "it begins from a snapshot or checkpoint"
