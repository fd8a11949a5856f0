from collections.abc import Sequence
from functools import reduce
from itertools import accumulate, combinations

import pytest
import torch

from orchestrator.domain.shards import Node, maximal_nodes, middle, owned_shards
from tests.unit.gang import gang
from trainers.elastic.group import ElasticGroup
from trainers.elastic.reduction import tree_sum

torch.set_num_threads(1)

LENGTH = 1001
"""No multiple of any world size."""


def leaves(num_shards: int, length: int = LENGTH, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """One vector per shard; their magnitudes lie up to ten orders apart."""
    generator = torch.Generator().manual_seed(num_shards)
    scales = [10.0 ** ((3 * shard) % 11 - 5) for shard in range(num_shards)]
    return [torch.randn(length, generator=generator, dtype=dtype) * scale for scale in scales]


def along_the_tree(parts: Sequence[torch.Tensor], node: Node) -> torch.Tensor:
    lo, hi = node
    if hi - lo == 1:
        return parts[lo]
    return along_the_tree(parts, (lo, middle(node))) + along_the_tree(parts, (middle(node), hi))


def reduced(parts: Sequence[torch.Tensor], world_size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(sum, flags) on every rank; each raises two flags: its rank, and whether it is the last."""
    num_shards = len(parts)

    def work(group: ElasticGroup) -> tuple[torch.Tensor, torch.Tensor]:
        owned = owned_shards(num_shards, group.rank, group.size)
        partials = {node: along_the_tree(parts, node) for node in maximal_nodes(owned, num_shards)}
        before = {node: partial.clone() for node, partial in partials.items()}
        flags = torch.tensor([group.rank, group.rank + 1 == group.size], dtype=parts[0].dtype)
        found = tree_sum(group, partials, flags, num_shards)
        assert all(torch.equal(partials[node], before[node]) for node in partials), "they are still needed"
        return found

    return gang(world_size, work)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.view(torch.uint8), other.view(torch.uint8))


@pytest.mark.parametrize(
    ("num_shards", "world_size"),
    [(shards, size) for shards in (8, 7, 5) for size in (1, 2, 3, 4, 8) if size <= shards],
)
def test_the_sum_has_the_same_bits_on_every_rank_at_any_number_of_workers(
    num_shards: int, world_size: int
) -> None:
    parts = leaves(num_shards)
    expected = along_the_tree(parts, (0, num_shards))
    for total, flags in reduced(parts, world_size):
        assert same_bits(total, expected)
        assert flags[:, 0].tolist() == list(range(world_size))
        assert flags[:, 1].tolist() == [0.0] * (world_size - 1) + [1.0]


@pytest.mark.parametrize("num_shards", [8, 7, 5])
def test_these_leaves_would_show_a_sum_that_depends_on_the_number_of_workers(num_shards: int) -> None:
    """A sum of each worker's own sum, as an all-reduce makes it, differs from one number of workers to
    another."""
    parts = leaves(num_shards)

    def plain(world_size: int) -> torch.Tensor:
        ranges = [owned_shards(num_shards, rank, world_size) for rank in range(world_size)]
        own_sums = [reduce(torch.add, parts[lo:hi]) for lo, hi in ranges]
        return reduce(torch.add, own_sums)

    *_, backwards = accumulate(reversed(parts))
    sums = [along_the_tree(parts, (0, num_shards)), plain(1), plain(2), plain(3), backwards]
    assert not [pair for pair in combinations(sums, 2) if same_bits(*pair)]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_vector_shorter_than_the_group_is_summed_too(length: int) -> None:
    """As in an evaluation, which sums a count and a loss: some members have no element to finish."""
    parts = leaves(8, length, torch.float64)
    for total, flags in reduced(parts, 4):
        assert same_bits(total, along_the_tree(parts, (0, 8)))
        assert flags[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_worker_without_shards_is_refused() -> None:
    with pytest.raises(ValueError, match="without logical shards cannot take part"):
        gang(2, lambda group: tree_sum(group, {}, torch.zeros(1), 1) if group.rank == 1 else None)
