from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.shards import Node, maximal_nodes, middle, owned_shards

shard_counts = st.integers(1, 65)


def tree(node: Node) -> set[Node]:
    """All nodes of the tree below `node`, itself included."""
    lo, hi = node
    if hi - lo == 1:
        return {node}
    return {node} | tree((lo, middle(node))) | tree((middle(node), hi))


def fewest_nodes(owned: Node, num_shards: int) -> int:
    """By trying every way to tile `owned` with nodes of the tree."""
    ends: dict[int, list[int]] = {}
    for lo, hi in tree((0, num_shards)):
        ends.setdefault(lo, []).append(hi)

    @cache
    def fewest(lo: int) -> int:
        if lo == owned[1]:
            return 0
        return 1 + min(fewest(hi) for hi in ends[lo] if hi <= owned[1])

    return fewest(owned[0])


@given(num_shards=shard_counts, world_size=st.integers(1, 20))
def test_owned_ranges_tile_the_leaves_in_rank_order_and_differ_by_one_at_most(
    num_shards: int, world_size: int
) -> None:
    ranges = [owned_shards(num_shards, rank, world_size) for rank in range(world_size)]
    assert [shard for lo, hi in ranges for shard in range(lo, hi)] == list(range(num_shards))
    sizes = [hi - lo for lo, hi in ranges]
    assert max(sizes) - min(sizes) <= 1


@given(num_shards=shard_counts, data=st.data())
def test_maximal_nodes_tile_the_owned_range_with_as_few_nodes_of_the_tree_as_can_be(
    num_shards: int, data: st.DataObject
) -> None:
    lo = data.draw(st.integers(0, num_shards - 1))
    owned = (lo, data.draw(st.integers(lo + 1, num_shards)))
    nodes = maximal_nodes(owned, num_shards)
    assert [shard for node in nodes for shard in range(*node)] == list(range(*owned))
    assert set(nodes) <= tree((0, num_shards))
    assert len(nodes) == fewest_nodes(owned, num_shards)


@given(num_shards=shard_counts, at=st.integers(0, 65))
def test_an_empty_range_holds_no_node(num_shards: int, at: int) -> None:
    assert maximal_nodes((min(at, num_shards), min(at, num_shards)), num_shards) == []


def test_a_lone_worker_holds_the_root_and_sends_one_vector() -> None:
    assert maximal_nodes(owned_shards(7, 0, 1), 7) == [(0, 7)]
