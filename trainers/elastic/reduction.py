"""Sum partial sums over all workers, always along the same tree.

Each worker holds the sums over its maximal tree nodes. The vector is cut into buckets, and each bucket into
one slice per worker; every worker gets the slice of all nodes from everybody, finishes the tree for its
slice, and hands the result to everybody. That is a reduce-scatter and an all-gather; the traffic is that of a
ring all-reduce where workers hold one maximal node each. Two workers that do so swap whole buckets instead,
in one round: there the sum of both is the tree.

A bucket is on its way as soon as it is begun, while the caller computes the next ones.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from orchestrator.domain.shards import Node, maximal_nodes, middle, owned_shards
from trainers.elastic.group import ElasticGroup, GroupBrokenError, Transfer

Partials = Mapping[Node, torch.Tensor]
_IN_FLIGHT = 2
"""Buckets behind the newest one that may still lack their second round. To wait for an older one in the
middle of a backward pass costs nothing: it lacks only where a peer is late, and the step waits for that one
anyway."""


def tree_sum(
    group: ElasticGroup, partials: Partials, flags: torch.Tensor, num_shards: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum over all `num_shards` leaves, and everybody's flags.

    `partials` holds this worker's maximal nodes, all of shape (n,) and one type; it is left as it is. `flags`
    has shape (f,) and the same type. Returns the sum, shape (n,), the same bits on every rank at any world
    size, and the flags by rank, shape (world size, f).
    """
    length = next((tensor.numel() for tensor in partials.values()), 0)
    total = flags.new_empty(length)
    exchange = TreeExchange(group, num_shards, [slice(0, length)], total, flags.numel())
    exchange.open(partials, flags)()
    return total, exchange.finish()


class TreeExchange:
    """The sums of one generation, one after another, each bucket by bucket.

    All members begin their buckets in the same order. What a member holds stays as it is, so that it can be
    used again when a sum fails.
    """

    def __init__(
        self,
        group: ElasticGroup,
        num_shards: int,
        buckets: Sequence[slice],
        total: torch.Tensor,
        num_flags: int,
    ):
        """`total` takes every sum; the flags travel with the first bucket. Raises ValueError for a worker
        without logical shards."""
        self.group = group
        self._root = (0, num_shards)
        self._whole = buckets
        self._total = total
        self._nodes = [
            maximal_nodes(owned_shards(num_shards, rank, group.size), num_shards)
            for rank in range(group.size)
        ]
        if not self._nodes[group.rank]:
            raise ValueError("a worker without logical shards cannot take part")
        swap = group.size == 2 and all(len(nodes) == 1 for nodes in self._nodes)
        kind = _SwappedBucket if swap else _ScatteredBucket
        self._buckets: list[_Bucket] = [
            kind(group, self._nodes, total, part, 0 if place else num_flags, tag=1 + 2 * place)
            for place, part in enumerate(buckets)
            if group.size > 1
        ]

    def open(self, partials: Partials, flags: torch.Tensor) -> Callable[[], None]:
        """Get ready for the next sum. Returns what begins the next bucket, once that is final in `partials`.

        It never raises: a lost member shows in `finish`, so that what is being computed can be completed.
        """
        self._partials = partials
        self._flags = flags
        self._begun = self._combined = 0
        self._broken: GroupBrokenError | None = None
        return self._begin

    def finish(self) -> torch.Tensor:
        """Wait until the sum is in `total`; returns everybody's flags by rank, shape (world size, f).

        Raises `GroupBrokenError`.
        """
        if self.group.size == 1:
            self._total.copy_(self._partials[self._root])
            return self._flags.unsqueeze(0).clone()
        assert self._begun == len(self._buckets), "every bucket must be begun"
        self._combine_until(self._begun)
        if self._broken is not None:
            raise self._broken
        for bucket in self._buckets:
            bucket.wait()
        return self._buckets[0].everybodys_flags()

    def _begin(self) -> None:
        if self.group.size == 1:
            return
        place, self._begun = self._begun, self._begun + 1
        if self._broken is None:
            try:
                self._buckets[place].send(self._partials, self._flags)
            except GroupBrokenError as broken:
                self._broken = broken
        self._combine_until(self._begun - _IN_FLIGHT)

    def _combine_until(self, end: int) -> None:
        while self._broken is None and self._combined < end:
            try:
                self._buckets[self._combined].combine()
            except GroupBrokenError as broken:
                self._broken = broken
            self._combined += 1


class _Bucket:
    """One part of the vector on its way."""

    _transfer: Transfer

    def __init__(
        self,
        group: ElasticGroup,
        nodes: Sequence[Sequence[Node]],
        total: torch.Tensor,
        part: slice,
        num_flags: int,
        tag: int,
    ):
        """`nodes`: the maximal nodes of each rank."""
        self._group = group
        self._nodes = nodes
        self._part = part
        self._num_flags = num_flags
        self._tag = tag
        self._flags = total.new_empty(group.size, num_flags)
        self._sum = total[part]
        self._make_room()

    def _make_room(self) -> None:
        """For what arrives."""
        raise NotImplementedError

    def send(self, partials: Partials, flags: torch.Tensor) -> None:
        """Begin the first round. Reads `partials` until `wait` returns."""
        raise NotImplementedError

    def combine(self) -> None:
        """Wait for the first round and add."""
        raise NotImplementedError

    def wait(self) -> None:
        """For the last round."""
        self._transfer.wait()

    def everybodys_flags(self) -> torch.Tensor:
        return self._flags

    def _message(self, pieces: Sequence[torch.Tensor], flags: torch.Tensor) -> torch.Tensor:
        if self._num_flags:
            pieces = [*pieces, flags]
        return torch.cat(list(pieces)) if len(pieces) > 1 else pieces[0]


class _SwappedBucket(_Bucket):
    """Between two workers with one maximal node each."""

    def _make_room(self) -> None:
        self._theirs = self._sum.new_empty(self._sum.numel() + self._num_flags)

    def send(self, partials: Partials, flags: torch.Tensor) -> None:
        (node,) = self._nodes[self._group.rank]
        self._own = partials[node][self._part]
        self._flags[self._group.rank] = flags[: self._num_flags]
        message = self._message([self._own], flags)
        self._transfer = self._group.start_exchange([message] * 2, [self._theirs] * 2, self._tag)

    def combine(self) -> None:
        self._transfer.wait()
        width = self._sum.numel()
        theirs = self._theirs[:width]
        left, right = (self._own, theirs) if self._group.rank == 0 else (theirs, self._own)
        torch.add(left, right, out=self._sum)
        self._flags[1 - self._group.rank] = self._theirs[width:]


class _ScatteredBucket(_Bucket):
    """Each worker finishes the tree for its own slice."""

    def _make_room(self) -> None:
        length, size, rank = self._sum.numel(), self._group.size, self._group.rank
        cuts = [length * place // size for place in range(size + 1)]
        self._slices = [slice(cuts[place], cuts[place + 1]) for place in range(size)]
        self._width = cuts[rank + 1] - cuts[rank]
        widths = [len(nodes) * self._width + self._num_flags for nodes in self._nodes]
        self._incoming = [self._sum.new_empty(width) for width in widths]
        self._parts = [self._sum[piece] for piece in self._slices]
        self._root = (0, self._nodes[-1][-1][1])

    def send(self, partials: Partials, flags: torch.Tensor) -> None:
        own = [partials[node][self._part] for node in self._nodes[self._group.rank]]
        outgoing = [self._message([vector[piece] for vector in own], flags) for piece in self._slices]
        self._incoming[self._group.rank] = outgoing[self._group.rank]
        self._transfer = self._group.start_exchange(outgoing, self._incoming, self._tag)

    def combine(self) -> None:
        """Wait for the first round, add, and begin the second one."""
        self._transfer.wait()
        leaves: dict[Node, torch.Tensor] = {}
        for rank, (received, nodes) in enumerate(zip(self._incoming, self._nodes, strict=True)):
            for place, node in enumerate(nodes):
                leaves[node] = received[place * self._width : (place + 1) * self._width]
            self._flags[rank] = received[len(nodes) * self._width :]
        rank, size = self._group.rank, self._group.size
        _finish(leaves, self._root, self._parts[rank])
        self._transfer = self._group.start_exchange([self._parts[rank]] * size, self._parts, self._tag + 1)


def _finish(leaves: Partials, node: Node, out: torch.Tensor | None = None) -> torch.Tensor:
    known = leaves.get(node)
    if known is not None:
        return known
    lo, hi = node
    left, right = _finish(leaves, (lo, middle(node))), _finish(leaves, (middle(node), hi))
    return torch.add(left, right, out=out)
