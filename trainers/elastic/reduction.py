"""Sum partial sums over all workers, always along the same tree.

Each worker holds the sums over its maximal tree nodes. The vector is cut into one slice per worker; every
worker gets the slice of all nodes from everybody, finishes the tree for its slice, and hands the result to
everybody. That is a reduce-scatter and an all-gather; the traffic is that of a ring all-reduce where workers
hold one maximal node each.
"""

from collections.abc import Mapping

import torch

from orchestrator.domain.shards import Node, maximal_nodes, middle, owned_shards
from trainers.elastic.group import ElasticGroup

Partials = Mapping[Node, torch.Tensor]


def tree_sum(
    group: ElasticGroup, partials: Partials, flags: torch.Tensor, num_shards: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum over all `num_shards` leaves, and everybody's flags.

    `partials` holds this worker's maximal nodes, all of shape (n,) and one type; it is left as it is. `flags`
    has shape (f,) and the same type. Returns the sum, shape (n,), the same bits on every rank at any world
    size, and the flags by rank, shape (world size, f).
    """
    root = (0, num_shards)
    if group.size == 1:
        return partials[root].clone(), flags.unsqueeze(0).clone()
    nodes = [
        maximal_nodes(owned_shards(num_shards, rank, group.size), num_shards) for rank in range(group.size)
    ]
    mine = nodes[group.rank]
    like = next(iter(partials.values()), flags)
    length = next((tensor.numel() for tensor in partials.values()), None)
    if length is None:
        raise ValueError("a worker without logical shards cannot take part")
    cuts = [length * rank // group.size for rank in range(group.size + 1)]
    slices = [slice(cuts[rank], cuts[rank + 1]) for rank in range(group.size)]
    width = slices[group.rank].stop - slices[group.rank].start

    outgoing = [torch.cat([*(partials[node][part] for node in mine), flags]) for part in slices]
    incoming = [like.new_empty(len(nodes[rank]) * width + flags.numel()) for rank in range(group.size)]
    group.exchange(outgoing, incoming)
    incoming[group.rank] = outgoing[group.rank]

    leaves: dict[Node, torch.Tensor] = {}
    for rank, received in enumerate(incoming):
        for place, node in enumerate(nodes[rank]):
            leaves[node] = received[place * width : (place + 1) * width]
    everybody = torch.stack([received[len(nodes[rank]) * width :] for rank, received in enumerate(incoming)])

    total = like.new_empty(length)
    total[slices[group.rank]] = _finish(leaves, root)
    parts = [total[part] for part in slices]
    group.exchange([parts[group.rank]] * group.size, parts)
    return total, everybody


def _finish(leaves: Mapping[Node, torch.Tensor], node: Node) -> torch.Tensor:
    known = leaves.get(node)
    if known is not None:
        return known
    lo, hi = node
    return _finish(leaves, (lo, middle(node))) + _finish(leaves, (middle(node), hi))
