"""All that training carries from step to step, how members agree on the newest of it, and how it is
copied."""

import hashlib
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from trainers.elastic.group import ElasticGroup
from trainers.elastic.messages import StepPoint


@dataclass
class TrainState:
    """Model, optimizer, schedule and the step they have reached; equal bits on every member."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler | None
    step: int = 0
    """Newest applied step; 0 before the first."""
    evaluated_step: int = -1
    metrics: dict[str, float] | None = None
    """Newest validation metrics."""
    newest_point: StepPoint | None = None
    """The record of the newest step; travels with a copy of the state, and is in no checkpoint."""
    reading: Callable[[], object] | None = None
    """Returns when whoever reads the tensors on another thread is through."""
    held_up_s: float = 0.0
    """Seconds for which a checkpoint held up training since `take_held_up_s`."""

    def settle(self) -> float:
        """To be called before any tensor changes; returns the seconds it waited."""
        if self.reading is None:
            return 0.0
        begun = time.perf_counter()
        reading, self.reading = self.reading, None
        reading()
        return time.perf_counter() - begun

    def take_held_up_s(self) -> float:
        held_up, self.held_up_s = self.held_up_s, 0.0
        return held_up

    def snapshot(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "step": self.step,
            "evaluated_step": self.evaluated_step,
            "metrics": {name: float(value) for name, value in (self.metrics or {}).items()},
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self.settle()
        self.model.load_state_dict(snapshot["model"])
        self.optimizer.load_state_dict(snapshot["optimizer"])
        if self.schedule is not None and snapshot["schedule"] is not None:
            self.schedule.load_state_dict(snapshot["schedule"])
        self.step = snapshot["step"]
        self.evaluated_step = snapshot["evaluated_step"]
        self.metrics = snapshot["metrics"]

    def tensors(self) -> Iterator[torch.Tensor]:
        """Parameters, buffers and optimizer state, in an order that is the same on every member."""
        yield from (p.detach() for p in self.model.parameters())
        yield from self.model.buffers()
        yield from self._optimizer_tensors()

    def checksum(self) -> int:
        """A cheap 63-bit sum over all bits of the state: equal states have equal sums."""
        total = 0
        for tensor in self.tensors():
            octets = tensor.detach().contiguous().view(-1).view(torch.uint8)
            if octets.storage_offset() % 8:
                octets = octets.clone()  # or it could not be read in whole words
            # Sums of whole words wrap around, which is exact; summing halves of them takes ten times as long.
            whole = octets[: octets.numel() // 8 * 8].view(torch.int64)
            total = total * 31 + int(whole.sum()) + int(octets[whole.numel() * 8 :].sum())
        return total & (2**63 - 1)

    def parameters_sha256(self) -> str:
        return _sha256(p.detach() for p in self.model.parameters())

    def optimizer_sha256(self) -> str:
        return _sha256(self._optimizer_tensors())

    def _optimizer_tensors(self) -> Iterator[torch.Tensor]:
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                entries = self.optimizer.state.get(parameter, {})
                yield from (entries[key] for key in sorted(entries) if torch.is_tensor(entries[key]))


@dataclass(frozen=True)
class Agreement:
    """What the members of a new generation found out about each other's state."""

    step: int
    source: int
    """Rank whose state everybody now has."""
    copied: bool
    copy_s: float
    witnesses: tuple[tuple[int, int], ...] = ()
    """(rank, checksum) of those who came with the newest step; all checksums should be equal."""


def agree_on_newest(group: ElasticGroup, state: TrainState) -> Agreement:
    """Bring every member to the newest step that any of them has applied, by copying state from one that has
    it.

    A survivor may have applied a step that another has not: the last exchange reached one and not the other.
    They are never more than that one step apart; a newcomer has applied none.
    """
    mine = torch.tensor([state.step, state.evaluated_step, state.checksum()], dtype=torch.int64)
    known = [tuple(row.tolist()) for row in group.gather(mine)]
    newest = max(row[:2] for row in known)
    source = next(rank for rank, row in enumerate(known) if row[:2] == newest)
    lacking = [rank for rank, row in enumerate(known) if row != known[source]]
    begun = time.perf_counter()
    if group.rank == source and lacking:
        skeleton, tensors = _take_apart(state.snapshot())
        header = torch.frombuffer(bytearray(pickle.dumps((skeleton, state.newest_point))), dtype=torch.uint8)
        for rank in lacking:
            group.send([torch.tensor([header.numel()]), header, *tensors], rank)
    elif group.rank in lacking:
        size = torch.zeros(1, dtype=torch.int64)
        group.receive([size], source)
        header = torch.empty(int(size), dtype=torch.uint8)
        group.receive([header], source)
        skeleton, newest_point = pickle.loads(header.numpy().tobytes())
        device = next(state.model.parameters()).device
        tensors = [torch.empty(hole.shape, dtype=hole.dtype, device=device) for hole in _holes(skeleton)]
        group.receive(tensors, source)
        state.restore(_put_together(skeleton, tensors))
        state.newest_point = newest_point
    witnesses = tuple((rank, row[2]) for rank, row in enumerate(known) if row[0] == newest[0])
    return Agreement(newest[0], source, bool(lacking), time.perf_counter() - begun, witnesses)


@dataclass(frozen=True)
class _Hole:
    """Stands for tensor number `place` while its data travel apart from the structure around it."""

    place: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def _take_apart(value: Any) -> tuple[Any, list[torch.Tensor]]:
    tensors: list[torch.Tensor] = []

    def walk(item: Any) -> Any:
        if torch.is_tensor(item):
            tensors.append(item.detach().contiguous())
            return _Hole(len(tensors) - 1, tuple(item.shape), item.dtype)
        if isinstance(item, Mapping):
            return {key: walk(child) for key, child in item.items()}
        if isinstance(item, list | tuple):
            return type(item)(walk(child) for child in item)
        return item

    return walk(value), tensors


def _put_together(skeleton: Any, tensors: list[torch.Tensor]) -> Any:
    if isinstance(skeleton, _Hole):
        return tensors[skeleton.place]
    if isinstance(skeleton, Mapping):
        return {key: _put_together(child, tensors) for key, child in skeleton.items()}
    if isinstance(skeleton, list | tuple):
        return type(skeleton)(_put_together(child, tensors) for child in skeleton)
    return skeleton


def _holes(skeleton: Any) -> Iterator[_Hole]:
    if isinstance(skeleton, _Hole):
        yield skeleton
    elif isinstance(skeleton, Mapping):
        for child in skeleton.values():
            yield from _holes(child)
    elif isinstance(skeleton, list | tuple):
        for child in skeleton:
            yield from _holes(child)


def _sha256(tensors: Iterable[torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        octets = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(octets.numpy().data)
    return digest.hexdigest()
