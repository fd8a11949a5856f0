"""Replicas compare their bits now and then, and keep a copy of the newest state on which all agreed.

What is found: a difference that is still there when the replicas compare. Nothing that was computed since the
last comparison is trusted then, for the gradients of a corrupted replica were summed into everybody's: all go
back to the copy. What is not found: a wrong sum, which all replicas apply alike, and whatever befalls a
replica that has no other beside it.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from orchestrator.domain.votes import Vote, count_votes
from trainers.elastic.faults import FlipBit
from trainers.elastic.group import ElasticGroup
from trainers.elastic.state import TrainState


class Verification:
    """Of one worker; `every` is in steps, 0 keeps and compares nothing."""

    def __init__(self, state: TrainState, every: int, fresh: Callable[[], nn.Module]):
        """`state` must be as it was built; `fresh` builds the model again, with the same bits."""
        self._state = state
        self._every = every
        self._fresh = fresh
        snapshot = state.snapshot()
        self._beginning = copy.deepcopy({name: snapshot[name] for name in snapshot if name != "model"})
        self._kept: Mapping[str, Any] | None = None
        self._kept_checksum = 0

    def due(self, step: int) -> bool:
        return self._every > 0 and step > 0 and step % self._every == 0

    def count(self, step: int, checksums: Sequence[int]) -> Vote:
        """The vote of those who came to a new generation with its newest step; before the first step there is
        nothing to be of one mind about."""
        return count_votes(checksums) if self._every and step > 0 else Vote(True, ())

    def compare(self, group: ElasticGroup) -> Vote:
        """All members at once. Where they agree, each keeps a copy."""
        if not self._every:
            return Vote(True, ())
        mine = self._state.checksum()
        vote = count_votes([int(row) for row in group.gather(torch.tensor([mine]))])
        if vote.agreed:
            self._kept, self._kept_checksum = _copied(self._state.snapshot()), mine
        return vote

    def go_back(self, newest_step: int) -> None:
        """To the copy that was kept, if it is whole and not after `newest_step`; else to the beginning."""
        if self._kept is not None and self._kept["step"] <= newest_step:
            # Copied again: an optimizer takes the tensors that it is given as its own.
            self._state.restore(_copied(self._kept))
            if self._state.checksum() == self._kept_checksum:
                return
        self._kept = None
        self._state.restore(copy.deepcopy(self._beginning) | {"model": self._fresh().state_dict()})


def flip_bit(state: TrainState, fault: FlipBit) -> None:
    state.settle()
    tensor = list(state.tensors())[fault.tensor]
    tensor.view(-1).view(torch.uint8)[fault.octet] ^= 1 << fault.bit


def _copied(value: Any) -> Any:
    """Tensors in the memory of the host, everything else as it is."""
    if torch.is_tensor(value):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(child) for child in value)
    return value
