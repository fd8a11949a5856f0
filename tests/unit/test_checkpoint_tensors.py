"""Tensors of all kinds, and what no checkpoint can hold."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD

from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.places import place_of
from orchestrator.domain.errors import CheckpointError
from tests.unit.saving import after, save
from trainers.checkpoints.reading import read_state
from trainers.elastic.state import TrainState


class Views(nn.Module):
    """A buffer that is a view of another tensor's beginning, and one that is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(12.0).view(4, 3))
        self.register_buffer("first_row", self.weight.detach()[0])
        self.register_buffer("columns", torch.arange(6.0).view(2, 3).t())
        self.register_buffer("halves", torch.ones(3, dtype=torch.bfloat16))


def test_views_come_back_with_their_own_shapes(tmp_path: Path) -> None:
    model = Views()
    state = TrainState(model, SGD(model.parameters(), lr=0.1), None, step=1)
    committed = save(tmp_path, state, world_size=2)
    catalog = Catalog(place_of(tmp_path))
    found = read_state(catalog.place, catalog.read(committed))["model"]
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in model.state_dict().items()
    }


def test_what_a_checkpoint_cannot_hold_is_named(tmp_path: Path) -> None:
    state = after(1)
    state.optimizer.param_groups[0]["rule"] = print
    with pytest.raises(CheckpointError, match=r"cannot hold optimizer/param_groups/0/rule: it is a builtin"):
        save(tmp_path, state)
