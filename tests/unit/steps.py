"""Steps of a small model on members that are processes or threads, without Ray."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from orchestrator.domain.order import BatchPlan
from orchestrator.domain.spec_training import TrainSpec
from tests.unit.gang import HOST
from trainers.elastic.group import ElasticGroup
from trainers.elastic.intake import Intake
from trainers.elastic.state import TrainState
from trainers.elastic.step import StepRunner, seed_everything
from trainers.optimization import default_optimizer, default_schedule
from trainers.task import ShardLoss, Task

NUM_ROWS = 31
"""With a global batch of 14 the last one of an epoch has three rows, fewer than there are logical shards."""
NUM_STEPS = 6


class NoConfig(BaseModel):
    pass


class Curves:
    """Row i: sixteen numbers drawn from seed i, of very different sizes, and a number to predict."""

    def __len__(self) -> int:
        return NUM_ROWS

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(16, generator=torch.Generator().manual_seed(index)) * 10.0 ** (index % 3 - 1)
        return x, x.sin().sum()


class Wide(Task[NoConfig]):
    """Its gradients fill several buckets."""

    Config = NoConfig
    dropout = 0.1

    def build_model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(16, 256),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Linear(256, 320),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Linear(320, 256),
            nn.GELU(),
            nn.Linear(256, 1),
        )

    def loss(self, model: nn.Module, batch: Any) -> ShardLoss:
        x, y = batch
        error = (model(x).squeeze(1).float() - y).square()
        return ShardLoss(error.sum(), len(x), {"largest": float(error.detach().max())})


def runner(task: Task[Any] | None = None, train: Mapping[str, Any] | None = None) -> StepRunner:
    """Warm; 14 rows a step in 5 logical shards."""
    torch.set_num_threads(1)
    task = task or Wide(NoConfig())
    spec = TrainSpec.model_validate({"global_batch": 14, "logical_shards": 5, **(train or {})})
    seed_everything(spec.seed)
    model = task.build_model()
    optimizer = default_optimizer(model, spec.optimizer)
    state = TrainState(model, optimizer, default_schedule(optimizer, spec.schedule, NUM_STEPS))
    plan = BatchPlan(NUM_ROWS, spec.global_batch, spec.logical_shards, spec.seed)
    intake, device = Intake(Curves(), plan), torch.device("cpu")
    steps = StepRunner(task, state, intake, plan, spec, num_steps=NUM_STEPS, device=device)
    steps.warm_up()
    return steps


def do(steps: StepRunner, group: ElasticGroup, num_steps: int = NUM_STEPS) -> list[float]:
    """The losses of so many more steps."""
    points = [steps.step(group, torch.zeros(2), generation=1)[0] for _ in range(num_steps)]
    return [point.metrics["loss"] for point in points]


def member(rank: int, size: int, folder: str, train: Mapping[str, Any]) -> tuple[str, str, list[float]]:
    """The life of a process that is one member: (parameters, optimizer) as SHA-256, and the losses."""
    steps = runner(train=train)
    store = torch.distributed.FileStore(folder, size)
    store.set(f"here/{rank}", "1")
    store.wait([f"here/{peer}" for peer in range(size)])  # to connect takes patience of a few seconds only
    with ElasticGroup(store, rank, size, backend="gloo", host=HOST, timeout_s=60.0) as group:
        losses = do(steps, group)
        group.gather(torch.zeros(1))
    return steps.state.parameters_sha256(), steps.state.optimizer_sha256(), losses


def the_same(found: Sequence[Any]) -> Any:
    """What all members have found."""
    assert all(one == found[0] for one in found), found
    return found[0]
