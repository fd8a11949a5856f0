"""One of some workers that train a model with 100 MB of state and save it now and then: `python -m
benchmarks.checkpoint_steps CONTENDER RANK FOLDER NUM_BLOCKS WORLD`. Rank 0 prints one JSON object.

A block is ten steps. In every other one (in the order ABBA) the state is saved at its first boundary, so that
steps with and without meet the same machine in the same minutes.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from pydantic import BaseModel
from torch import nn
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType, async_save

from orchestrator.domain.order import BatchPlan
from orchestrator.domain.spec_training import OptimizerSpec, TrainSpec
from trainers.checkpoints.copying import Origin
from trainers.checkpoints.held import Holding
from trainers.checkpoints.saver import Saver
from trainers.elastic.group import ElasticGroup
from trainers.elastic.intake import Intake
from trainers.elastic.state import TrainState
from trainers.elastic.step import StepRunner
from trainers.task import ShardLoss, Task

STEPS_PER_BLOCK: Final = 10
_SHARDS, _BATCH = 8, 64
_WIDTH, _DEPTH = 1440, 4
"""8.3 million parameters: with AdamW 100 MB of state."""


class Nothing(BaseModel):
    pass


class Stack(Task[Nothing]):
    Config = Nothing

    def build_model(self) -> nn.Module:
        layers = [layer for _ in range(_DEPTH) for layer in (nn.Linear(_WIDTH, _WIDTH), nn.Tanh())]
        return nn.Sequential(*layers)

    def loss(self, model: nn.Module, batch: Any) -> ShardLoss:
        return ShardLoss(model(batch).square().sum(), len(batch))


class RandomRows:
    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((_WIDTH,), index / 100_000)


Save = Callable[[], "Future[Any] | None"]
"""Begins to save; returns what is done when all is in storage, or None where it is already."""


def contender(name: str, state: TrainState, rank: int, world: int, folder: Path) -> Save:
    match name:
        case "tumbler" | "snapshot":
            saver = Saver(state, str(folder), _SHARDS, lambda saved: None, holding=Holding(folder, "f" * 64))
            return partial(_ours, saver, Origin(f"w{rank}", 1, 1, rank, world), name == "snapshot")
        case "torch_save":
            return lambda: _torch_save(state, rank, folder)
        case "dcp_thread" | "dcp_process":
            kind = AsyncCheckpointerType.THREAD if name == "dcp_thread" else AsyncCheckpointerType.PROCESS
            return lambda: _dcp(state, folder, kind)
        case _:
            raise ValueError(name)


def _ours(saver: Saver, origin: Origin, only_held: bool) -> "Future[Any] | None":
    saver.prepare(origin)
    while not saver.ready:
        time.sleep(0.01)  # once
    if not only_held:
        return saver.begin(origin)
    assert saver.snapshot(origin)
    return None


def _torch_save(state: TrainState, rank: int, folder: Path) -> None:
    """What most training loops do: rank 0 writes, in the middle of training."""
    if rank == 0:
        torch.save(state.snapshot(), folder / f"{state.step}.pt")


def _dcp(state: TrainState, folder: Path, kind: AsyncCheckpointerType) -> "Future[Any]":
    """PyTorch's own asynchronous checkpoint: every rank takes part, with torch's default group."""
    content = {"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()}
    saved = async_save(content, checkpoint_id=folder / str(state.step), async_checkpointer_type=kind)
    assert isinstance(saved, Future)
    return saved


def main(name: str, rank: int, folder: Path, num_blocks: int, world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(folder / "default"), world), rank=rank, world_size=world
    )
    torch.manual_seed(1)
    task = Stack(Nothing())
    model = task.build_model()
    state = TrainState(model, task.build_optimizer(model, OptimizerSpec(lr=1e-4)), None)
    plan = BatchPlan(100_000, _BATCH, _SHARDS, seed=1)
    train = TrainSpec(steps=1, global_batch=_BATCH, logical_shards=_SHARDS)
    steps = StepRunner(
        task, state, Intake(RandomRows(), plan), plan, train, num_steps=10**6, device=torch.device("cpu")
    )
    steps.warm_up()
    store = dist.FileStore(str(folder / "elastic"), world)
    group = ElasticGroup(store, rank, world, backend="gloo", host="127.0.0.1", timeout_s=300.0)
    save = contender(name, state, rank, world, folder)
    found = measured(steps, group, save, num_blocks)
    if rank == 0:
        size = sum(tensor.nbytes for tensor in state.tensors())
        print(json.dumps({"state_mb": size / 1e6, **found}), flush=True)
    dist.barrier()


def measured(steps: StepRunner, group: ElasticGroup, save: Save, num_blocks: int) -> dict[str, Any]:
    """Seconds of each step by what was going on: nothing, the save began with it, it was being written."""
    course = Course(steps, group, save)
    course.step()
    course.begin()  # processes start, memory is allocated
    course.step()
    course.settle()
    seen: dict[str, list[float]] = {"plain": [], "first": [], "beside": [], "with": [], "without": []}
    for block in range(num_blocks):
        saves = block % 4 in (1, 2)
        dist.barrier()
        begun = time.perf_counter()
        took = [course.block_step(saves and place == 0) for place in range(STEPS_PER_BLOCK)]
        seen["with" if saves else "without"].append(time.perf_counter() - begun)
        for kind, step_s in took:
            if kind != "plain" or not saves:
                seen[kind].append(step_s)
        course.settle()
    return {**seen, "commits": course.commits[1:]}


class Course:
    """Steps of one rank, and the save that is under way."""

    def __init__(self, steps: StepRunner, group: ElasticGroup, save: Save) -> None:
        self._steps = steps
        self._group = group
        self._save = save
        self._writing: Future[Any] | None = None
        self.commits: list[float] = []

    def step(self) -> None:
        self._steps.step(self._group, torch.zeros(1), 1)

    def block_step(self, saves: bool) -> tuple[str, float]:
        """(what went on, seconds) of one step; with `saves`, a save begins before it."""
        kind = "beside" if self._writing is not None and not self._writing.done() else "plain"
        begun = time.perf_counter()
        if saves:
            self.begin()
            kind = "first"
        self.step()
        return kind, time.perf_counter() - begun

    def begin(self) -> None:
        begun = time.perf_counter()
        self._writing = self._save()
        if self._writing is not None:
            self._writing.add_done_callback(lambda done: self.commits.append(time.perf_counter() - begun))

    def settle(self) -> None:
        """Wait until what was begun is in storage."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
