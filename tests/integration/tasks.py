"""Small tasks for tests: real training, paced so that faults can be placed."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from orchestrator.domain.spec import DataSpec
from trainers.task import Datasets, ShardLoss, Task


class PacedConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = 1000
    pause_s: float = 0.0
    """Extra time per logical shard."""
    raise_at: int | None = None
    """Raise in the forward pass that sees this row."""
    raise_once_file: str | None = None
    """Raise only while this file does not exist, and make it."""
    nan_at: int | None = None
    """The loss of the logical shard that sees this row is not a number."""
    batch_norm: bool = False
    width: int = 64


class Squares:
    """Row i: sixteen numbers drawn from seed i, and the sum of their squares."""

    def __init__(self, rows: int, start: int = 0):
        self._rows, self._start = rows, start

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        x = torch.randn(16, generator=torch.Generator().manual_seed(self._start + index))
        return x, x.square().sum(), index


class Paced(Task[PacedConfig]):
    Config = PacedConfig

    def build_dataset(self, data: DataSpec, storage: Path) -> Datasets:
        return Datasets(Squares(self.config.rows), Squares(64, start=10**6))

    def build_model(self) -> nn.Module:
        width = self.config.width
        norm: list[nn.Module] = [nn.BatchNorm1d(width)] if self.config.batch_norm else []
        return nn.Sequential(nn.Linear(16, width), *norm, nn.GELU(), nn.Dropout(0.1), nn.Linear(width, 1))

    def loss(self, model: nn.Module, batch: Any) -> ShardLoss:
        x, y, rows = batch
        time.sleep(self.config.pause_s)
        self._maybe_raise(rows.tolist())
        error = (model(x).squeeze(1) - y).square()
        if self.config.nan_at in rows.tolist():
            error = error * float("nan")
        return ShardLoss(error.sum(), len(x), {"error": float(error.detach().sqrt().sum())})

    def _maybe_raise(self, rows: Sequence[int]) -> None:
        if self.config.raise_at not in rows:
            return
        once = self.config.raise_once_file
        if once is None:
            raise ValueError(f"row {self.config.raise_at} is poison")
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        raise ValueError(f"row {self.config.raise_at} is poison, once")
