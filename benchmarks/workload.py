"""What the contenders train: the same model, optimizer and batches for all."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import nn


class Workload(NamedTuple):
    model: nn.Module
    optimizer: torch.optim.Optimizer
    batch_loss: Callable[[nn.Module, int, int, int], torch.Tensor]
    """(model, step, part, num_parts) -> mean loss over that part of the step's global batch.

    `model` is the one above, perhaps wrapped. Steps count from 1, parts from 0.
    """


def load_workload(reference: str, seed: int, storage: Path) -> Workload:
    """Build what `module:function` describes; equal seeds give equal weights and batches.

    The function takes (seed, storage), where `storage` is a folder for what all workers share. This process
    computes with one thread from now on.
    """
    module, _, name = reference.partition(":")
    build = cast("Callable[[int, Path], Workload]", getattr(importlib.import_module(module), name))
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return build(seed, storage)
