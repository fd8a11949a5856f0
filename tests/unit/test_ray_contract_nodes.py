"""What Tumbler expects of Ray where nodes come and go; see `test_ray_contract`."""

import inspect
from pathlib import Path

import pytest
import ray
from ray._private.label_utils import validate_label_selector
from ray._private.state import GlobalState
from ray.core.generated import autoscaler_pb2

from cluster import drains
from trainers.ray_train.internals import NODE_ID_LABEL
from trainers.ray_train.slots import SlotPool


def test_ray_tells_which_nodes_drain() -> None:
    assert inspect.signature(GlobalState.get_draining_nodes).return_annotation == dict[str, int] or (
        "Dict[str, int]" in str(inspect.signature(GlobalState.get_draining_nodes).return_annotation)
    )
    assert isinstance(ray._private.state.state, GlobalState)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_selector_may_leave_out_any_number_of_nodes(count: int) -> None:
    ids = [f"{number:056x}" for number in range(count)]
    selector = {NODE_ID_LABEL: f"!in({','.join(ids)})"}
    assert NODE_ID_LABEL == "ray.io/node-id"
    assert validate_label_selector(selector) is None


def test_the_command_that_drains_a_node_takes_what_we_give() -> None:
    """Read, not imported: that takes seconds."""
    source, theirs = inspect.getsource(drains), (Path(ray.__file__).parent / "scripts/scripts.py").read_text()
    command = theirs[theirs.index("def drain_node") - 3000 :][:4000]
    for name in ("--address", "--node-id", "--reason", "--reason-message", "--deadline-remaining-seconds"):
        assert f'"{name}"' in source
        assert f'"{name}"' in command
    assert "DRAIN_NODE_REASON_PREEMPTION" in autoscaler_pb2.DrainNodeReason.keys()  # noqa: SIM118


async def test_places_are_asked_for_outside_of_closed_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A free place on a node that is closed, or does not answer, is given up."""
    asked: list[object] = []
    removed: list[object] = []

    class Group:
        def __init__(self, **wish: object) -> None:
            asked.append(wish["bundle_label_selector"])

        async def ready(self) -> None:
            pass

    async def answers(node_id: str) -> bool:
        return node_id != "dead"

    monkeypatch.setattr("trainers.ray_train.slots.placement_group", Group)
    monkeypatch.setattr("trainers.ray_train.slots.remove_placement_group", removed.append)
    pool = SlotPool("run:", {"CPU": 1}, "PACK", {"disk": "fast"}, gang=0, node_answers=answers)
    first = await pool.take()
    pool.give_back(first, "n1")
    assert await pool.take() is first, "the place of the lost one"
    assert pool.close_nodes(frozenset({"n1"}))
    assert not pool.close_nodes(frozenset({"n1"}))
    pool.give_back(first, "n1")
    assert removed == [first.group]
    second = await pool.take()
    assert asked == [[{"disk": "fast"}], [{"disk": "fast", NODE_ID_LABEL: "!in(n1)"}]]
    pool.give_back(second, "dead")
    third = await pool.take()
    assert third is not second
    assert removed == [first.group, second.group]
    assert asked[-1] == [{"disk": "fast", NODE_ID_LABEL: "!in(dead,n1)"}]
