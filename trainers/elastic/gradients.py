"""Gradients of logical shards, summed along the tree into flat vectors.

One vector holds the gradients of all parameters and, behind them, the sums that ride along: loss, count of
valid items, and whatever else the task sums.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import nn

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.shards import Node, maximal_nodes, middle
from trainers.task import ShardLoss

_ALIGN = 16
"""Elements; each gradient starts on a 64-byte boundary."""
LOSS, COUNT = 0, 1


class GradientVector:
    """The layout of a flat vector: where each parameter's gradient and each riding sum lies."""

    def __init__(self, parameters: Iterable[nn.Parameter], sums: Sequence[str] = ()):
        self.parameters = [p for p in parameters if p.requires_grad]
        if not self.parameters:
            raise SpecError([Problem("model", "it has no trainable parameters")])
        kinds = {p.dtype for p in self.parameters}
        if kinds != {torch.float32}:
            names = ", ".join(sorted(str(kind) for kind in kinds))
            message = f"trainable parameters must be float32, these are {names}; use autocast for less"
            raise SpecError([Problem("model", message)])
        self.sums = tuple(sums)
        self._starts: list[int] = []
        end = 0
        for parameter in self.parameters:
            self._starts.append(end)
            end += -(-parameter.numel() // _ALIGN) * _ALIGN
        self.num_gradients = end
        self.length = end + 2 + len(self.sums)
        self._device = self.parameters[0].device

    def zeros(self) -> torch.Tensor:
        return torch.zeros(self.length, dtype=torch.float32, device=self._device)

    def bind(self, vector: torch.Tensor) -> None:
        """Let every parameter's `.grad` be its part of `vector`."""
        for parameter, start in zip(self.parameters, self._starts, strict=True):
            parameter.grad = vector[start : start + parameter.numel()].view_as(parameter)

    def add_sums(self, vector: torch.Tensor, loss: ShardLoss) -> None:
        values = [
            float(loss.total.detach()),
            float(loss.count),
            *(float(loss.sums[name]) for name in self.sums),
        ]
        vector[self.num_gradients :] += torch.tensor(values, dtype=torch.float32, device=vector.device)

    def means(self, vector: torch.Tensor) -> tuple[float, dict[str, float]]:
        """The count, and the mean of loss and of each riding sum over it."""
        loss, count, *rest = vector[self.num_gradients :].tolist()
        if count == 0:
            return 0.0, {"loss": 0.0}
        return count, {"loss": loss / count} | {
            name: value / count for name, value in zip(self.sums, rest, strict=True)
        }


class StepGradients:
    """This worker's part of one step's tree; what was summed stays usable when the group must be formed anew.

    A loss of a worker does not touch the sums that the survivors have: with the parameters unchanged they are
    still right, so only the leaves that nobody holds any more are computed again.
    """

    def __init__(self, vector: GradientVector, num_shards: int):
        self._vector = vector
        self._num_shards = num_shards
        self._free: list[torch.Tensor] = []
        self._held: dict[Node, torch.Tensor] = {}
        self._step = -1

    def partials(
        self, step: int, owned: Node, shard_loss: Callable[[int], ShardLoss | None]
    ) -> Mapping[Node, torch.Tensor]:
        """Sums over the maximal nodes within `owned`. `shard_loss(shard)` runs the forward pass; None: no
        rows."""
        if step != self._step:
            self._release_all()
            self._step = step
        for node in maximal_nodes(owned, self._num_shards):
            if node not in self._held:
                self._held[node] = self._sum(node, shard_loss)
        return {node: self._held[node] for node in maximal_nodes(owned, self._num_shards)}

    def _sum(self, node: Node, shard_loss: Callable[[int], ShardLoss | None]) -> torch.Tensor:
        held = self._held.pop(node, None)
        if held is not None:
            return held
        lo, hi = node
        if hi - lo == 1:
            return self._add_leaf(self._take(), lo, shard_loss)
        left = self._sum((lo, middle(node)), shard_loss)
        if hi - middle(node) == 1 and (middle(node), hi) not in self._held:
            return self._add_leaf(left, middle(node), shard_loss)
        right = self._sum((middle(node), hi), shard_loss)
        left += right
        self._free.append(right)
        return left

    def _add_leaf(
        self, vector: torch.Tensor, shard: int, shard_loss: Callable[[int], ShardLoss | None]
    ) -> torch.Tensor:
        self._vector.bind(vector)
        loss = shard_loss(shard)
        if loss is not None:
            loss.total.backward()  # type: ignore[no-untyped-call]
            self._vector.add_sums(vector, loss)
        return vector

    def _take(self) -> torch.Tensor:
        return self._free.pop().zero_() if self._free else self._vector.zeros()

    def _release_all(self) -> None:
        self._free.extend(self._held.values())
        self._held.clear()
