"""Logical shards and the one tree over which everything is summed.

The global batch is dealt to V logical shards. Partial sums follow one fixed binary tree over the V leaves,
whoever holds them: node (lo, hi) is the sum over the leaves lo..hi-1 and splits at its middle. A worker owns
a contiguous range of leaves, so it can sum some whole nodes by itself: the maximal ones. Floating-point
addition is not associative; keeping the tree fixed is what makes the sum the same bits at any number of
workers.
"""

from typing import TypeAlias

Node: TypeAlias = tuple[int, int]


def middle(node: Node) -> int:
    lo, hi = node
    return (lo + hi) // 2


def owned_shards(num_shards: int, rank: int, world_size: int) -> Node:
    """The contiguous range of leaves that `rank` of `world_size` computes; sizes differ by one at most."""
    whole, rest = divmod(num_shards, world_size)
    lo = rank * whole + min(rank, rest)
    return lo, lo + whole + (1 if rank < rest else 0)


def maximal_nodes(owned: Node, num_shards: int) -> list[Node]:
    """The largest tree nodes that lie wholly within `owned`, from left to right."""

    def within(node: Node) -> list[Node]:
        lo, hi = node
        if owned[0] <= lo and hi <= owned[1]:
            return [node]
        if hi <= owned[0] or owned[1] <= lo:
            return []
        return within((lo, middle(node))) + within((middle(node), hi))

    if owned[0] >= owned[1]:
        return []
    return within((0, num_shards))
