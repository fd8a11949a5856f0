from typing import Any

import pytest

from orchestrator.checkpoints.catalog import Committed
from orchestrator.domain.membership import Roster
from trainers.elastic.messages import Offer, WorkerProfile
from trainers.ray_train.happenings import Placed
from trainers.ray_train.muster import Muster


class Worker:
    """A worker that keeps what it is offered; shaped like an actor handle."""

    def __init__(self) -> None:
        self.offers: list[Offer] = []
        self.offer = self

    def remote(self, offer: Offer) -> None:
        self.offers.append(offer)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def muster(worker: Worker) -> Muster:
    """One worker, warm."""
    nothing: Any = None
    roster = Roster(minimum=1, target=1)
    roster.requested("w1")
    muster = Muster(roster, nothing, nothing)
    actor: Any = worker
    muster.placed(Placed("w1", actor, nothing))
    muster.warm(WorkerProfile("w1", 7, "node", {}, "host", 1, rows=40, num_steps=10))
    return muster


def test_a_checkpoint_that_the_record_does_not_reach_is_not_offered(muster: Muster, worker: Worker) -> None:
    generation = muster.roster.next_generation()
    assert generation is not None
    found = [Committed(step, 1, 1) for step in (60, 40, 20)]
    muster.publish(generation, recorded_step=43, checkpoints=found)
    (offer,) = worker.offers
    assert [committed.step for committed in offer.checkpoints] == [40, 20]
    assert offer.recorded_step == 43
