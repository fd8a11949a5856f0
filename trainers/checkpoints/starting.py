"""A model whose parameters come from another run's checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.references import resolve
from orchestrator.domain.errors import Problem, SpecError, TumblerError
from trainers.checkpoints.reading import read_model

_FIELD = "train.from_checkpoint"


def start_from(model: nn.Module, reference: str) -> None:
    """Give the model the parameters and buffers of a checkpoint, as `train.from_checkpoint` names it once it
    is pinned.

    Raises SpecError where it cannot be read, or is one of another model.
    """
    try:
        place, committed = resolve(reference, Path())
        parameters = read_model(place, Catalog(place).read(committed))
    except TumblerError as error:
        raise SpecError([Problem(_FIELD, str(error))]) from error
    difference = _difference(model.state_dict(), parameters)
    if difference:
        raise SpecError([Problem(_FIELD, f"{reference} is a checkpoint of another model: {difference}")])
    model.load_state_dict(parameters)


def _difference(wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    """The first thing that differs, in half a sentence; empty where nothing does."""
    for name, tensor in wanted.items():
        if name not in found:
            return f"it has no {name}"
        if tensor.shape != found[name].shape:
            return f"its {name} has shape {tuple(found[name].shape)}, the model's {tuple(tensor.shape)}"
    unknown = next((name for name in found if name not in wanted), None)
    return f"it has {unknown}, which the model has not" if unknown is not None else ""
