"""Your own Task: handwritten digits, 8 x 8 pixels each, from scikit-learn (`pip install scikit-learn`).

A metric other than the loss goes into `ShardLoss.sums`, as a sum; it is reported divided by the count.
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.domain.spec import DataSpec
from trainers.task import Datasets, ShardLoss, Task


class DigitsConfig(BaseModel):
    """`model:` in the spec. Unknown fields are refused before anything starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = 64
    dropout: float = 0.1


class Images:
    """Row i: an image, shape (64,), values 0 to 1, and its digit."""

    def __init__(self, images: Tensor, digits: Tensor) -> None:
        self._images, self._digits = images, digits

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._images[index], self._digits[index]


class Digits(Task[DigitsConfig]):
    Config = DigitsConfig

    def build_dataset(self, data: DataSpec, storage: Path) -> Datasets:
        found = load_digits()
        images = torch.tensor(found.data, dtype=torch.float32) / 16
        digits = torch.tensor(found.target)
        num_train = len(images) - int(len(images) * data.validation_fraction)
        return Datasets(
            train=Images(images[:num_train], digits[:num_train]),
            validation=Images(images[num_train:], digits[num_train:]),
        )

    def build_model(self) -> nn.Module:
        width = self.config.width
        return nn.Sequential(
            nn.Linear(64, width), nn.GELU(), nn.Dropout(self.config.dropout), nn.Linear(width, 10)
        )

    def loss(self, model: nn.Module, batch: Any) -> ShardLoss:
        images, digits = batch
        logits = model(images)
        right = (logits.argmax(dim=1) == digits).sum()
        total = functional.cross_entropy(logits, digits, reduction="sum")
        return ShardLoss(total, count=len(digits), sums={"accuracy": float(right)})
