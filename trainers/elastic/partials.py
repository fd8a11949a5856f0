"""Gradients of logical shards, summed along the tree by the worker that computes them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import torch

from orchestrator.domain.shards import Node, maximal_nodes, middle
from trainers.elastic.gradients import BucketWatch, GradientVector
from trainers.task import ShardLoss

Forward: TypeAlias = Callable[[], ShardLoss]
Forwards: TypeAlias = Callable[[int], Sequence[Forward]]
"""The forward passes of a shard, to be done in order, each followed by its backward pass; none where it has
no rows."""
Opened: TypeAlias = Callable[[Mapping[Node, torch.Tensor]], Callable[[], None]]
"""Takes the sums, of which one is not final yet; returns what is called for each bucket as soon as it is."""


class StepGradients:
    """This worker's part of one step's tree; what was summed stays usable when the group must be formed anew.

    A loss of a worker does not touch the sums that the survivors have: with the parameters unchanged they are
    still right, so only the leaves that nobody holds any more are computed again.
    """

    def __init__(self, vector: GradientVector):
        self._vector = vector
        self._watch = BucketWatch(vector)
        self._free: list[torch.Tensor] = []
        self._held: dict[Node, torch.Tensor] = {}
        self._of: tuple[int, int] | None = None

    def rehearse(self, forwards: Forwards) -> bool:
        """Compute the first shard twice, without effect; whether both gave the same bits."""
        once = self._add_leaf(self._take(), forwards(0), self._watch.rehearsing())
        again = self._add_leaf(self._take(), forwards(0))
        self._free += [once, again]
        return torch.equal(once.view(torch.int32), again.view(torch.int32))

    def partials(
        self, step: int, owned: Node, num_shards: int, forwards: Forwards, opened: Opened | None = None
    ) -> Mapping[Node, torch.Tensor]:
        """Sums over the maximal nodes within `owned`, of `num_shards` leaves in all.

        With `opened` each bucket is told when it is final, the last backward pass still going on.
        """
        if self._of != (step, num_shards):
            self._release_all()
        self._of = None  # nothing is worth keeping should this raise
        nodes = maximal_nodes(owned, num_shards)
        missing = [node for node in nodes if node not in self._held]
        for node in missing[:-1]:
            self._held[node] = self._sum(node, forwards)
        if missing:
            self._last_sum(missing[-1], nodes, forwards, opened)
        elif opened is not None:
            begin = opened(self._those(nodes))
            for _ in self._vector.buckets:
                begin()
        self._of = (step, num_shards)
        return self._those(nodes)

    def forget(self) -> None:
        """Drop what is held: the parameters it was computed with are not the present ones."""
        self._release_all()
        self._of = None

    def _those(self, nodes: Sequence[Node]) -> dict[Node, torch.Tensor]:
        return {node: self._held[node] for node in nodes}

    def _sum(self, node: Node, forwards: Forwards) -> torch.Tensor:
        held = self._held.pop(node, None)
        if held is not None:
            return held
        lo, hi = node
        if hi - lo == 1:
            return self._add_leaf(self._take(), forwards(lo))
        left = self._sum((lo, middle(node)), forwards)
        right_node = (middle(node), hi)
        if hi - middle(node) == 1 and right_node not in self._held:
            return self._add_to(left, forwards(middle(node)))
        right = self._sum(right_node, forwards)
        left += right
        self._free.append(right)
        return left

    def _last_sum(self, node: Node, nodes: Sequence[Node], forwards: Forwards, opened: Opened | None) -> None:
        """As `_sum`, but what the last leaf is added to is added bucket by bucket, as the leaf grows."""
        whole, lefts = node, []
        while node[1] - node[0] > 1 and node not in self._held:
            lefts.append(self._sum((node[0], middle(node)), forwards))
            node = (middle(node), node[1])
        held = self._held.pop(node, None)
        pieces = forwards(node[0]) if held is None else []
        if held is not None:
            vector = held
        elif lefts and len(pieces) <= 1:
            vector = lefts.pop()
        else:
            vector = self._take()
        self._held[whole] = lefts[0] if lefts else vector
        begin = opened(self._those(nodes)) if opened is not None else lambda: None

        def complete(bucket: int) -> None:
            part = self._vector.buckets[bucket]
            right = vector[part]
            for left in reversed(lefts):
                right = left[part].add_(right)
            begin()

        self._add_leaf(vector, pieces, self._watch.telling(complete))
        self._free += [vector, *lefts[1:]] if lefts else []

    def _add_to(self, left: torch.Tensor, pieces: Sequence[Forward]) -> torch.Tensor:
        """`left` plus a leaf. One in several pieces needs a vector of its own: it is the leaf that the tree
        adds, not its pieces one by one."""
        if len(pieces) <= 1:
            return self._add_leaf(left, pieces)
        leaf = self._add_leaf(self._take(), pieces)
        left += leaf
        self._free.append(leaf)
        return left

    def _add_leaf(
        self,
        vector: torch.Tensor,
        pieces: Sequence[Forward],
        around_the_last: AbstractContextManager[None] | None = None,
    ) -> torch.Tensor:
        self._vector.bind(vector)
        for forward in pieces[:-1]:
            self._add_piece(vector, forward())
        loss = pieces[-1]() if pieces else None
        with around_the_last or nullcontext():
            if loss is not None:
                self._add_piece(vector, loss)
        return vector

    def _add_piece(self, vector: torch.Tensor, loss: ShardLoss) -> None:
        # The sums first: they travel with the first bucket.
        self._vector.add_sums(vector, loss)
        loss.total.backward()  # type: ignore[no-untyped-call]

    def _take(self) -> torch.Tensor:
        return self._free.pop().zero_() if self._free else self._vector.zeros()

    def _release_all(self) -> None:
        self._free.extend(self._held.values())
        self._held.clear()
