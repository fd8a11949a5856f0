"""Who leaves politely, when, and what becomes of the group: without Ray, on a clock of the test's own."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.domain.membership import Roster, WorkerPhase
from trainers.elastic.messages import WorkerProfile
from trainers.ray_train.farewells import Farewells
from trainers.ray_train.happenings import NodesDrain, NodesOrdered, Placed, WorkersOrdered
from trainers.ray_train.muster import Muster

GRACE_S = 30.0


@dataclass
class Slots:
    """Shaped like a SlotPool."""

    closed: frozenset[str] = frozenset()

    def give_back(self, slot: Any, node_id: str) -> None:
        pass

    def is_closed(self, node_id: str) -> bool:
        return node_id in self.closed

    def close_nodes(self, node_ids: frozenset[str]) -> bool:
        changed, self.closed = node_ids != self.closed, node_ids
        return changed


@dataclass
class World:
    """Workers on nodes, all of them members of the first generation."""

    muster: Muster
    farewells: Farewells
    killed: list[Any]
    told: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    now: float = 1000.0

    @property
    def roster(self) -> Roster:
        return self.muster.roster

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.told]

    def starts(self, worker_id: str, node_id: str) -> None:
        actor: Any = SimpleNamespace(
            name=worker_id,
            request_stop=SimpleNamespace(remote=lambda: self.stopped.append(worker_id)),
        )
        nothing: Any = None
        self.roster.requested(worker_id)
        self.muster.placed(Placed(worker_id, actor, nothing))
        self.muster.started(worker_id, node_id)

    def joins(self, worker_id: str, node_id: str) -> None:
        self.starts(worker_id, node_id)
        self.muster.warm(WorkerProfile(worker_id, 7, node_id, {}, "host", 1, rows=40, num_steps=10))

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.farewells.settle()

    def hears(self, happening: Any) -> None:
        self.farewells.handle(happening)
        self.farewells.settle()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """w1 on node a, w2 and w3 on node b; two suffice."""
    killed: list[Any] = []
    monkeypatch.setattr("trainers.ray_train.muster.ray.kill", lambda actor: killed.append(actor.name))
    nothing: Any = None
    slots: Any = Slots()
    muster = Muster(Roster(minimum=2, target=3), slots, nothing)
    told: list[dict[str, Any]] = []
    recorder: Any = SimpleNamespace(
        step=7,
        event=lambda kind, message, **facts: told.append({"kind": str(kind), "message": message, **facts}),
        phase=lambda phase: None,
    )
    world = World(muster, Farewells(GRACE_S, recorder, muster, clock=lambda: world.now), killed, told)
    for worker_id, node_id in (("w1", "a"), ("w2", "b"), ("w3", "b")):
        world.joins(worker_id, node_id)
    assert muster.roster.next_generation() is not None
    return world


def test_a_worker_of_a_draining_node_leaves_when_its_replacement_is_warm(world: World) -> None:
    world.hears(NodesDrain({"a": None}))
    assert world.kinds() == ["drain-noticed"]
    assert world.told[0]["worker"] == "w1"
    assert world.roster.missing() == 1
    assert world.roster.next_generation() is None, "it trains on meanwhile"
    world.joins("w4", "c")
    generation = world.roster.next_generation()
    assert generation is not None
    assert generation.members == ("w2", "w3", "w4")
    assert world.roster.phase("w1") is WorkerPhase.RETIRING
    world.after(1000.0)
    assert world.kinds() == ["drain-noticed"], "said once"


def test_without_a_replacement_it_leaves_before_the_deadline_where_enough_go_on(world: World) -> None:
    world.hears(NodesDrain({"a": world.now + 100.0}))
    world.after(69.0)
    assert world.roster.next_generation() is None
    world.after(2.0)  # 29 s are left, less than the grace
    generation = world.roster.next_generation()
    assert generation is not None
    assert generation.members == ("w2", "w3")
    assert world.kinds() == ["drain-noticed", "drain-overdue"]
    assert world.stopped == []


def test_of_a_short_notice_half_is_kept_for_the_farewell(world: World) -> None:
    world.hears(NodesDrain({"a": world.now + 10.0}))
    world.after(4.9)
    assert world.roster.next_generation() is None
    world.after(0.2)
    assert world.roster.next_generation() is not None


def test_an_earlier_deadline_counts_from_then_on(world: World) -> None:
    world.hears(NodesOrdered(closed=(), drained={"a": world.now + 1000.0}))
    world.hears(NodesOrdered(closed=(), drained={"a": world.now + 100.0}))
    world.after(71.0)
    assert world.roster.phase("w1") is WorkerPhase.RETIRING


def test_where_too_few_would_go_on_all_save_a_checkpoint_and_leave(world: World) -> None:
    world.hears(NodesDrain({"b": world.now + 10.0}))
    world.after(5.1)
    assert world.farewells.parting
    assert world.stopped == ["w1", "w2", "w3"]
    assert "all save a checkpoint" in world.told[-1]["message"]
    world.after(1.0)
    assert world.stopped == ["w1", "w2", "w3"], "asked once"
    for worker_id in ("w1", "w2", "w3"):
        world.muster.leave(worker_id)
    world.farewells.settle()
    assert not world.farewells.parting
    assert world.roster.missing() == 3


def test_nobody_starts_on_a_draining_or_closed_node(world: World) -> None:
    world.starts("w4", "a")
    world.starts("w5", "c")
    world.hears(NodesDrain({"a": None}))
    assert world.roster.phase("w4") is None
    assert not world.farewells.turned_away("w5")
    world.hears(NodesOrdered(closed=("c",), drained={}))
    assert world.roster.phase("w5") is WorkerPhase.STARTING, "it was there before"
    world.starts("w6", "c")
    assert world.farewells.turned_away("w6")
    assert world.roster.phase("w6") is None


def test_who_waits_for_a_place_asks_anew_when_nodes_are_closed_or_opened(world: World) -> None:
    world.roster.requested("w4")
    world.hears(NodesOrdered(closed=("c",), drained={}))
    assert world.roster.phase("w4") is None
    world.roster.requested("w5")
    world.hears(NodesOrdered(closed=("c",), drained={}))
    assert world.roster.phase("w5") is WorkerPhase.REQUESTED, "nothing changed"
    world.hears(NodesOrdered(closed=(), drained={}))
    assert world.roster.phase("w5") is None


def test_a_drain_that_is_taken_back_keeps_its_workers(world: World) -> None:
    world.hears(NodesOrdered(closed=(), drained={"a": None}))
    assert world.roster.leaving() == ["w1"]
    world.hears(NodesOrdered(closed=(), drained={}))
    assert world.roster.leaving() == []
    assert world.roster.missing() == 0


def test_a_worker_is_drained_by_a_wish_and_given_the_grace(world: World) -> None:
    world.hears(WorkersOrdered(drain=("w2", "w9"), kill=()))
    assert world.roster.leaving() == ["w2"]
    world.after(GRACE_S - 1.0)
    world.hears(WorkersOrdered(drain=("w2", "w9"), kill=()))  # as after a change of other orders
    world.after(1.1)
    assert world.roster.phase("w2") is WorkerPhase.RETIRING


def test_a_kill_is_done_once_and_found_as_a_loss(world: World) -> None:
    world.hears(WorkersOrdered(drain=(), kill=("w3", "w9")))
    world.hears(WorkersOrdered(drain=(), kill=("w3", "w9")))
    assert world.killed == ["w3"]
    assert world.kinds() == ["worker-killed"]
    assert world.roster.phase("w3") is WorkerPhase.ACTIVE, "until its death is seen"
