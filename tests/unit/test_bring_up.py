"""A worker that cannot be started is told as lost, whatever the reason."""

from typing import Any

from trainers.ray_train.bring_up import WorkerStarter
from trainers.ray_train.happenings import Happening, Lost
from trainers.ray_train.worker import ElasticWorker


class NoPlaces:
    async def take(self) -> Any:
        raise ValueError("Placement group name tumbler-otter-2 already exists.")


async def test_whatever_keeps_a_worker_from_starting_is_told() -> None:
    told: list[Happening] = []
    group: Any = None
    starter = WorkerStarter(ElasticWorker, group, {}, {}, told.append)
    places: Any = NoPlaces()
    await starter.bring_up("w3", places, 0.0)
    assert told == [
        Lost(
            "w3",
            "it could not be started: ValueError: Placement group name tumbler-otter-2 already exists.",
        )
    ]
