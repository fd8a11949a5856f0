"""One optimizer step: forward and backward per logical shard, the sum along the tree, the update."""

import math
import random
import time
from typing import Any

import numpy as np
import torch

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.order import BatchPlan
from orchestrator.domain.shards import owned_shards
from trainers.elastic.gradients import GradientVector, StepGradients
from trainers.elastic.group import ElasticGroup
from trainers.elastic.messages import StepPoint
from trainers.elastic.reduction import tree_sum
from trainers.elastic.state import TrainState
from trainers.task import Rows, ShardLoss, Task

RESERVED_NAMES = frozenset(
    {"step", "time", "step_s", "workers", "generation", "kind", "seq", "loss", "count", "grad_norm", "lr"}
)
"""What a record of metrics holds besides the sums of a task."""


def seed_everything(*parts: int) -> None:
    """Seed torch (all devices), numpy and random from the parts, e.g. (seed, step, shard)."""
    mixed = 0
    for part in parts:
        mixed = (mixed * 0x9E3779B97F4A7C15 + part + 1) & (2**64 - 1)
        mixed ^= mixed >> 31
    seed = mixed & (2**63 - 1)
    # torch.manual_seed formats a stack trace per device type that is not in use: half a millisecond a shard.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    np.random.seed(mixed & 0xFFFFFFFF)
    random.seed(mixed)


class StepRunner:
    """Computes and applies steps. The same bits come out whatever the number of members."""

    def __init__(
        self,
        task: Task[Any],
        state: TrainState,
        rows: Rows,
        plan: BatchPlan,
        *,
        num_steps: int,
        seed: int,
        clip_grad_norm: float | None,
        device: torch.device,
    ):
        self.state = state
        self.num_steps = num_steps
        self._task = task
        self._rows = rows
        self._plan = plan
        self._seed = seed
        self._clip = clip_grad_norm
        self._device = device
        self._vector: GradientVector | None = None
        self._gradients: StepGradients | None = None

    def warm_up(self) -> float:
        """Run one shard forward and backward without effect, so that the first real step is a normal one.

        Raises SpecError for a model that cannot be trained the same at any number of workers.
        """
        begun = time.perf_counter()
        before = {name: b.clone() for name, b in self.state.model.named_buffers()}
        loss = self._shard_loss(1, 0)
        assert loss is not None, "the plan gives the first shard of the first batch at least one row"
        taken = sorted(RESERVED_NAMES & set(loss.sums))
        if taken:
            raise SpecError([Problem("task", f"its loss sums {taken[0]!r}, a name that metrics have")])
        self._vector = GradientVector(self.state.model.parameters(), sorted(loss.sums))
        self._gradients = StepGradients(self._vector, self._plan.logical_shards)
        self._vector.bind(self._vector.zeros())
        loss.total.backward()  # type: ignore[no-untyped-call]
        changed = [n for n, b in self.state.model.named_buffers() if not torch.equal(b, before[n])]
        if changed:
            message = (
                f"buffer {changed[0]!r} changes while the model trains (as in BatchNorm), so the result "
                "would depend on the number of workers; use a layer without running statistics, such as "
                "GroupNorm"
            )
            raise SpecError([Problem("model", message)])
        return time.perf_counter() - begun

    def step(
        self, group: ElasticGroup, flags: torch.Tensor, generation: int
    ) -> tuple[StepPoint, torch.Tensor]:
        """Do the next step. Returns its record and, per flag, the sum over all members."""
        assert self._gradients is not None, "warm up first"
        begun = time.perf_counter()
        step = self.state.step + 1
        shards = self._plan.logical_shards
        owned = owned_shards(shards, group.rank, group.size)
        partials = self._gradients.partials(step, owned, lambda shard: self._shard_loss(step, shard))
        total, raised = tree_sum(group, partials, flags.to(self._device), shards)
        applied, metrics = self._apply(total)
        self.state.step = step
        epoch, first, last = self._plan.span(step)
        point = StepPoint(
            step=step,
            epoch=epoch,
            first=first,
            last=last,
            time_s=time.time(),
            step_s=time.perf_counter() - begun,
            generation=generation,
            world_size=group.size,
            skipped=not applied,
            metrics=metrics,
        )
        return point, raised.sum(dim=0)

    def _apply(self, total: torch.Tensor) -> tuple[bool, dict[str, float]]:
        """Divide by the global count, clip, update; False when the sum is not finite and the update is left
        out."""
        assert self._vector is not None
        count, metrics = self._vector.means(total)
        gradients = total[: self._vector.num_gradients]
        gradients /= count or 1.0
        norm = float(torch.linalg.vector_norm(gradients))
        metrics |= {
            "count": count,
            "grad_norm": norm,
            "lr": float(self.state.optimizer.param_groups[0]["lr"]),
        }
        applied = count > 0 and math.isfinite(norm) and math.isfinite(metrics["loss"])
        if applied:
            if self._clip is not None and norm > self._clip:
                gradients *= self._clip / norm
            self._vector.bind(total)
            self.state.optimizer.step()
        if self.state.schedule is not None:
            self.state.schedule.step()
        return applied, metrics

    def _shard_loss(self, step: int, shard: int) -> ShardLoss | None:
        rows = self._plan.rows(step, shard)
        if not rows:
            return None
        seed_everything(self._seed, step, shard)
        self.state.model.train()
        batch = to_device(self._task.collate([self._rows[row] for row in rows]), self._device)
        return self._task.loss(self.state.model, batch)


def to_device(batch: Any, device: torch.device) -> Any:
    """Move every tensor in nested mappings, lists and tuples; on the CPU nothing is copied."""
    if torch.is_tensor(batch):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    return batch
