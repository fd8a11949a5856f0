"""Places of a run, with placement groups that are granted at once."""

from typing import Any

import pytest

from trainers.ray_train import slots as module
from trainers.ray_train.slots import SlotPool


class Ray:
    """Refuses a name that is in use, as Ray does."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def placement_group(self, *, name: str, **_: Any) -> "Group":
        if name in self.names:
            raise ValueError(f"placement group {name} already exists")
        self.names.append(name)
        return Group(name)

    def remove(self, group: "Group") -> None:
        self.names.remove(group.name)


class Group:
    def __init__(self, name: str) -> None:
        self.name = name

    async def ready(self) -> None:
        pass


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    ray = Ray()
    monkeypatch.setattr(module, "placement_group", ray.placement_group)
    monkeypatch.setattr(module, "remove_placement_group", ray.remove)
    return ray


@pytest.mark.parametrize("gang", [0, 1, 2])
async def test_a_run_grows_after_its_feed_gave_its_share_back(ray: Ray, gang: int) -> None:
    pool = SlotPool("tumbler:otter:", {"CPU": 1}, "PACK", None, gang=gang)
    await pool.take_feed(1, {})
    first = [await pool.take(), await pool.take()]
    pool.release_feed()
    later = [await pool.take(), await pool.take()]
    assert len({slot.group for slot in (*first, *later)}) >= 3
    pool.close()
    assert ray.names == []


async def test_a_name_is_not_used_again_when_places_went_back(ray: Ray) -> None:
    pool = SlotPool("tumbler:otter:", {"CPU": 1}, "PACK", None, gang=1)
    slots = [await pool.take() for _ in range(3)]
    pool.give_back(slots[1])
    pool.release_unused()
    await pool.take()
    assert len(set(ray.names)) == 3
