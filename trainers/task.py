"""What a user writes to train something: a subclass of Task.

The trainer owns the loop, the seeds, the reduction and the checkpoints; the task owns the model, the rows and
the loss. All of a task is deterministic given `torch.manual_seed`, which the trainer calls before
`build_model` and before the loss of each logical shard.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import default_collate

from orchestrator.domain.errors import DataError
from orchestrator.domain.spec_training import DataSpec, OptimizerSpec, ScheduleSpec
from trainers.feed.recipe import Recipe, recipe_of
from trainers.feed.run_feed import RunFeed
from trainers.feed.serving import rows_of_run, rows_prepared_here
from trainers.optimization import default_optimizer, default_schedule

ConfigT = TypeVar("ConfigT", bound=BaseModel)


class Rows(Protocol):
    """A map-style dataset: rows by index, the same row for the same index on every worker."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True)
class Datasets:
    """What a run trains on and what it is measured with."""

    train: Rows
    validation: Rows | None = None

    def check_rows(self, global_batch: int) -> None:
        """Raises DataError where the training rows do not fill one global batch."""
        if len(self.train) < global_batch:
            raise DataError(
                f"there are {len(self.train)} training rows, fewer than one global batch of {global_batch}",
                hint="Give it more data, or lower train.global_batch.",
            )


@dataclass(frozen=True)
class ShardLoss:
    """The loss of one logical shard, as sums: the trainer divides after the reduction, by the global
    count."""

    total: Tensor
    """Scalar with a gradient: the SUM of the losses of all valid items of the shard, never their mean."""
    count: int | float
    """How many items are valid (tokens, images ...); the weights of all shards in the mean."""
    sums: Mapping[str, float] = field(default_factory=dict)
    """Further sums over the same items, such as the number of right answers; reported divided by the
    count."""


class Task(ABC, Generic[ConfigT]):
    """A model, its data and its loss. Subclasses set `Config` and implement `build_model` and `loss`."""

    Config: ClassVar[type[BaseModel]]
    """What `model:` in the spec is checked against."""

    feed: RunFeed | None = None
    """Set in a run whose rows come through the feed."""

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    def recipe(self, data: DataSpec) -> Recipe | None:
        """How the feed makes the rows; None, as where `build_dataset` is overridden alone, for no feed.

        By default rows of text, packed to `config.context` tokens, where the config has that; else rows as
        they are in the files. Raises DataError.
        """
        if type(self).build_dataset is not Task.build_dataset:
            return None
        context = getattr(self.config, "context", None)
        return recipe_of(data, context if isinstance(context, int) else None)

    def build_dataset(self, data: DataSpec, storage: Path) -> Datasets:
        """The rows of the run; `storage` is a folder all workers share, for what is prepared once.

        By default those of `recipe`: from the feed of the run, or, outside of a run, prepared here and now.
        Raises DataError.
        """
        if self.feed is not None:
            return Datasets(*rows_of_run(self.feed, data.validation_fraction))
        recipe = self.recipe(data)
        if recipe is None:
            raise DataError(f"{type(self).__name__} has neither rows nor a recipe of its own")
        return Datasets(*rows_prepared_here(recipe, storage, data.validation_fraction))

    def collate(self, items: Sequence[Any]) -> Any:
        """One batch from at least one row; any nest of tensors, lists, tuples and dicts."""
        return default_collate(list(items))

    @abstractmethod
    def build_model(self) -> nn.Module:
        """A freshly initialised model on the CPU."""

    def build_optimizer(self, model: nn.Module, spec: OptimizerSpec) -> Optimizer:
        """By default the optimizer named in the spec; weight decay on matrices only."""
        return default_optimizer(model, spec)

    def build_schedule(self, optimizer: Optimizer, spec: ScheduleSpec, num_steps: int) -> LRScheduler | None:
        """Stepped once after each update; None for a constant rate."""
        return default_schedule(optimizer, spec, num_steps)

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> ShardLoss:
        """The summed loss of one batch of `collate`."""

    def evaluate(self, model: nn.Module, batch: Any) -> ShardLoss:
        """As `loss`, without gradients and with dropout off; the model's mode is left as it was."""
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                return self.loss(model, batch)
        finally:
            model.train(was_training)

    def summarise(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """Metrics to report, from means such as `val_loss`; a task may add its own."""
        return means

    def generate(self, model: nn.Module, prompt: str, *, max_tokens: int, seed: int) -> str:
        """What the model says after `prompt`; raises NotImplementedError where a task cannot speak."""
        raise NotImplementedError(f"{type(self).__name__} cannot generate text")
