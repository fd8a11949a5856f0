"""One optimizer step: forward and backward per logical shard, the sum along the tree, the update."""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.order import BatchPlan
from orchestrator.domain.shards import owned_shards
from orchestrator.domain.spec_training import TrainSpec
from trainers.elastic.gradients import GradientVector
from trainers.elastic.group import ElasticGroup, SupersededError
from trainers.elastic.intake import Intake
from trainers.elastic.messages import StepPoint
from trainers.elastic.partials import Forward, StepGradients
from trainers.elastic.precision import forward_in
from trainers.elastic.progress import Progress
from trainers.elastic.reduction import TreeExchange
from trainers.elastic.state import TrainState
from trainers.task import ShardLoss, Task

RESERVED_NAMES = frozenset(
    {"step", "time", "step_s", "workers", "generation", "kind", "seq", "loss", "count", "grad_norm", "lr"}
    | {"input_wait_s", "checkpoint_wait_s"}
)
"""What a record of metrics holds besides the sums of a task."""
_CHANGING_BUFFER = (
    "buffer {!r} changes while the model trains (as in BatchNorm), so the result would depend on the number "
    "of workers; use a layer without running statistics, such as GroupNorm"
)
_NOT_DETERMINISTIC = (
    "the same rows with the same seed gave other bits when they were computed again, so the result would "
    "depend on who computes what; let the loss depend on nothing but the batch and the random numbers "
    "of torch, numpy and random, or set train.consistency to fast"
)


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


class NotFiniteError(Exception):
    """The sum of a step was not finite, and the step may not be skipped; the state is as before it."""


class StepRunner:
    """Computes and applies steps.

    Bitwise, the leaves of the tree are the logical shards: the same bits come out whatever the number of
    members. Fast, there is one leaf per member, which holds the rows of all of its shards.
    """

    def __init__(
        self,
        task: Task[Any],
        state: TrainState,
        intake: Intake,
        plan: BatchPlan,
        train: TrainSpec,
        *,
        num_steps: int,
        device: torch.device,
    ):
        self.state = state
        self.num_steps = num_steps
        self._task = task
        self._intake = intake
        self._plan = plan
        self._train = train
        self._device = device
        self._modules = tuple(state.model.modules())
        self._vector: GradientVector | None = None
        self._exchange: TreeExchange | None = None
        self._gradients: StepGradients | None = None
        self.progress = Progress()
        self.may_skip: Callable[[int], bool] = lambda step: True
        """Whether a step that is not finite may be left out, by its number."""

    def warm_up(self) -> float:
        """Run one shard forward and backward without effect, so that the first real step is a normal one.

        Raises SpecError for what cannot be trained as the spec says.
        """
        begun = time.perf_counter()
        before = {name: b.clone() for name, b in self.state.model.named_buffers()}
        first = partial(self._forwards, 1, self._plan.logical_shards)
        pieces = first(0)
        assert pieces, "the plan gives the first shard of the first batch at least one row"
        loss: object = pieces[0]()
        if (wrong := wrong_with(loss)) is not None:
            raise SpecError([Problem("task", wrong)])
        assert isinstance(loss, ShardLoss)
        sums = loss.sums
        taken = sorted(RESERVED_NAMES & set(sums))
        if taken:
            raise SpecError([Problem("task", f"its loss sums {taken[0]!r}, a name that metrics have")])
        self._vector = GradientVector(self.state.model.parameters(), sorted(sums))
        self._gradients = StepGradients(self._vector)
        self._total = self._vector.zeros()
        same = self._gradients.rehearse(first)
        changed = [n for n, b in self.state.model.named_buffers() if not torch.equal(b, before[n])]
        if changed:
            raise SpecError([Problem("model", _CHANGING_BUFFER.format(changed[0]))])
        if not same and self._train.consistency == "bitwise":
            raise SpecError([Problem("task", _NOT_DETERMINISTIC)])
        return time.perf_counter() - begun

    def await_input(self, called_away: Callable[[], bool]) -> None:
        """Return when the rows of the whole next step are there; raises SupersededError when called away."""
        if not self._intake.await_step(self.state.step + 1, called_away):
            raise SupersededError("called away while the feed brings the rows of the next step")

    def step(
        self, group: ElasticGroup, flags: torch.Tensor, generation: int
    ) -> tuple[StepPoint, torch.Tensor]:
        """Do the next step. Returns its record and, per flag, the greatest of all members."""
        assert self._gradients is not None, "warm up first"
        begun = time.perf_counter()
        step = self.state.step + 1
        self._intake.look_ahead(step, self.owned(group))
        leaves = self._plan.logical_shards if self._train.consistency == "bitwise" else group.size
        exchange = self._exchange_in(group, leaves, flags.numel())
        self._gradients.partials(
            step,
            owned_shards(leaves, group.rank, group.size),
            leaves,
            partial(self._forwards, step, leaves),
            partial(exchange.open, flags=flags.to(self._device)),
        )
        raised = exchange.finish()
        applied, metrics = self._apply(self._total)
        metrics["input_wait_s"] = round(self._intake.waited_s(), 5)
        held_up = self.state.take_held_up_s()
        if held_up:
            metrics["checkpoint_wait_s"] = round(held_up, 5)
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
        return point, raised.amax(dim=0)

    def forget(self) -> None:
        """Drop the sums that are held for the step in flight: the state they were computed with is gone."""
        if self._gradients is not None:
            self._gradients.forget()

    def not_finite(self, step: int, shard: int) -> str | None:
        """Compute one logical shard again, with the present parameters and without effect: `loss` or
        `gradient`, whichever is not finite, or None."""
        assert self._vector is not None, "warm up first"
        vector = self._vector.zeros()
        self._vector.bind(vector)
        for forward in self._forwards(step, self._plan.logical_shards, shard):
            loss = forward()
            loss.total.backward()  # type: ignore[no-untyped-call]
            if not math.isfinite(float(loss.total.detach())):
                return "loss"
        return None if bool(torch.isfinite(vector).all()) else "gradient"

    def span(self, step: int, shard: int | None = None) -> tuple[int, int, int]:
        """(epoch, first, last): the positions that a step uses, or one of its logical shards."""
        return self._plan.span(step) if shard is None else self._plan.shard_span(step, shard)

    def owned(self, group: ElasticGroup) -> tuple[int, int]:
        """The logical shards of this member, as a half-open range."""
        return owned_shards(self._plan.logical_shards, group.rank, group.size)

    def _exchange_in(self, group: ElasticGroup, num_leaves: int, num_flags: int) -> TreeExchange:
        assert self._vector is not None, "warm up first"
        if self._exchange is None or self._exchange.group is not group:
            self._exchange = TreeExchange(group, num_leaves, self._vector.buckets, self._total, num_flags)
        return self._exchange

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
        clip = self._train.clip_grad_norm
        applied = count > 0 and math.isfinite(norm) and math.isfinite(metrics["loss"])
        if applied:
            if clip is not None and norm > clip:
                gradients *= clip / norm
            self._vector.bind(total)
            self.state.held_up_s += self.state.settle()
            self.state.optimizer.step()
        elif count > 0 and not self.may_skip(self.state.step + 1):
            raise NotFiniteError
        if self.state.schedule is not None:
            self.state.schedule.step()
        return applied, metrics

    def _forwards(self, step: int, num_leaves: int, leaf: int) -> list[Forward]:
        shards = range(*owned_shards(self._plan.logical_shards, leaf, num_leaves))
        rows = [row for shard in shards for row in self._intake.take(step, shard)]
        if not rows:
            return []
        seed_everything(self._train.seed, step, shards.start)
        if not all(module.training for module in self._modules):
            self.state.model.train()
        at_once = self._train.micro_batch or len(rows)
        return [partial(self._loss, rows[start : start + at_once]) for start in range(0, len(rows), at_once)]

    def _loss(self, rows: Sequence[Any]) -> ShardLoss:
        poisoned = self.progress.shard()
        batch = to_device(self._task.collate(rows), self._device)
        with forward_in(self._train.precision, self._device):
            found = self._task.loss(self.state.model, batch)
        return replace(found, total=found.total * math.nan) if poisoned else found


def wrong_with(loss: object) -> str | None:
    """What a task's `loss` returned in place of a sum that can be trained on, in a sentence."""
    if not isinstance(loss, ShardLoss):
        kind = type(loss).__name__
        return f"its loss returns a {kind}, expected a ShardLoss: the sum over the rows, and their count"
    total: object = loss.total
    if not isinstance(total, torch.Tensor):
        return f"the total of its loss is a {type(total).__name__}, expected a tensor: the sum over the rows"
    if total.dim():
        return (
            f"the total of its loss has shape {list(total.shape)}, expected a scalar: the sum over the rows"
        )
    if not total.requires_grad:
        return "the total of its loss has no gradient: it does not depend on the model's parameters"
    return None


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
