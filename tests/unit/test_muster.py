from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.checkpoints.catalog import Committed
from orchestrator.domain.membership import Roster
from trainers.elastic.messages import Offer, WorkerProfile
from trainers.ray_train.happenings import Placed
from trainers.ray_train.muster import Muster


class Method:
    """Keeps what it is called with; shaped like that of an actor handle."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def remote(self, argument: Any) -> None:
        self.calls.append(argument)


class Worker:
    """Shaped like an actor handle."""

    def __init__(self) -> None:
        self.offer = Method()
        self.ask_for_checkpoint = Method()

    @property
    def offers(self) -> list[Offer]:
        return self.offer.calls


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def muster(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Muster:
    """One worker, warm."""
    monkeypatch.setattr("trainers.ray_train.muster.ray.kill", lambda actor: None)
    nothing: Any = None
    slots: Any = SimpleNamespace(give_back=lambda slot, node_id: None)
    muster = Muster(Roster(minimum=1, target=1), slots, nothing)
    joins(muster, "w1", worker)
    return muster


def joins(muster: Muster, name: str, worker: Worker) -> None:
    nothing: Any = None
    actor: Any = worker
    muster.roster.requested(name)
    muster.placed(Placed(name, actor, nothing))
    muster.warm(WorkerProfile(name, 7, "node", {}, "host", 1, rows=40, num_steps=10))


def published(muster: Muster) -> None:
    generation = muster.roster.next_generation()
    assert generation is not None
    muster.publish(generation, recorded_step=0, checkpoints=[])


def test_a_checkpoint_that_the_record_does_not_reach_is_not_offered(muster: Muster, worker: Worker) -> None:
    generation = muster.roster.next_generation()
    assert generation is not None
    found = [Committed(step, 1, 1) for step in (60, 40, 20)]
    muster.publish(generation, recorded_step=43, checkpoints=found)
    (offer,) = worker.offers
    assert [committed.step for committed in offer.checkpoints] == [40, 20]
    assert offer.recorded_step == 43


def test_a_checkpoint_is_asked_of_members_at_once_and_of_newcomers_with_their_offer(
    muster: Muster, worker: Worker
) -> None:
    muster.want_checkpoint(7)
    assert worker.ask_for_checkpoint.calls == [], "it is in no group yet"
    published(muster)
    assert [offer.ask for offer in worker.offers] == [1]
    assert muster.wish.answered(1) == 7
    muster.want_checkpoint(9)
    assert worker.ask_for_checkpoint.calls == [2]
    newcomer = Worker()
    joins(muster, "w2", newcomer)
    published(muster)
    assert [offer.ask for offer in newcomer.offers] == [2]
    assert muster.wish.answered(2) == 9
    joins(muster, "w3", Worker())
    published(muster)
    assert worker.offers[-1].ask == 0


def test_who_may_have_left_without_its_parts_has_the_others_asked_anew(
    muster: Muster, worker: Worker
) -> None:
    joins(muster, "w2", Worker())
    joins(muster, "w3", Worker())
    published(muster)
    muster.want_checkpoint(7)
    muster.leave("w3")
    published(muster)
    assert worker.offers[-1].ask == 2, "a loss"
    muster.broken(2)
    published(muster)
    assert worker.offers[-1].ask == 3, "a group that failed"
    muster.roster.retire("w2")
    published(muster)
    assert worker.offers[-1].ask == 4, "a farewell"
    muster.leave("w2")
    joins(muster, "w4", Worker())
    published(muster)
    assert worker.offers[-1].ask == 4, "nobody left"
    assert muster.wish.answered(2) == 7, "any of them answers it"
    muster.leave("w4")
    published(muster)
    assert worker.offers[-1].ask == 0
