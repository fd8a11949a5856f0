"""Checkpoints of small states, saved and committed as members and their controller do."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.manifest import Manifest, PartFile
from orchestrator.checkpoints.places import place_of
from orchestrator.domain.errors import CheckpointError, TumblerError
from trainers.checkpoints.copying import Origin
from trainers.checkpoints.memories import Memories
from trainers.checkpoints.saver import Saved, Saver
from trainers.checkpoints.writer import part_file
from trainers.checkpoints.writer_process import write_file
from trainers.elastic.messages import PartsWritten
from trainers.elastic.state import TrainState

torch.set_num_threads(1)

SPEC, OTHER_SPEC = "a" * 64, "b" * 64
SHARDS = 8


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(8, 8)
        self.decode = nn.Linear(8, 8)
        self.decode.weight = self.encode.weight
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("nothing", torch.empty(0))


def after(steps: int, seed: int = 0) -> TrainState:
    torch.manual_seed(seed)
    model = Tied()
    optimizer = AdamW(model.parameters(), lr=0.01)
    state = TrainState(model, optimizer, LambdaLR(optimizer, lambda step: 1 / (1 + step)))
    for _ in range(steps):
        train(state)
    if steps:
        state.metrics, state.evaluated_step = {"val_loss": 1 / steps}, steps
    return state


def train(state: TrainState) -> None:
    """One step, as the step runner does it."""
    assert isinstance(state.model, Tied)
    x = torch.randn(4, 8)
    state.optimizer.zero_grad()
    state.model.decode(torch.tanh(state.model.encode(x))).square().sum().backward()
    state.settle()
    state.optimizer.step()
    assert state.schedule is not None
    state.schedule.step()
    state.step += 1


def bits(state: TrainState) -> tuple[Any, ...]:
    rates = [group["lr"] for group in state.optimizer.param_groups]
    hashes = (state.parameters_sha256(), state.optimizer_sha256())
    return state.step, state.evaluated_step, state.metrics, rates, state.checksum(), *hashes


class WriterHere:
    """Does in this process what the writer process does."""

    def __init__(self) -> None:
        self._memories = Memories()

    def write(self, place: str, files: Sequence[dict[str, Any]]) -> Future[tuple[PartFile, ...]]:
        answer: Future[tuple[PartFile, ...]] = Future()
        try:
            made = [write_file(place_of(place), file, self._memories.view) for file in files]
            answer.set_result(tuple(part_file(file) for file in made))
        except (TumblerError, OSError) as error:
            answer.set_exception(CheckpointError(str(error)))
        return answer

    def ask(self, request: Mapping[str, Any]) -> Future[tuple[PartFile, ...]]:
        raise AssertionError("no snapshots are held here")

    def close(self) -> None:
        pass


def save_parts(
    folder: Path,
    state: TrainState,
    *,
    world_size: int = 1,
    attempt: int = 1,
    generation: int = 1,
    ask: int = 0,
) -> list[Saved]:
    """What each member reports."""
    reports: list[Saved] = []
    for rank in range(world_size):
        saver = Saver(state, str(folder), SHARDS, reports.append, WriterHere())
        saver.begin(Origin(f"w{rank}", attempt, generation, rank, world_size, ask)).result(30)
        saver.close()
    return reports


def save(
    folder: Path,
    state: TrainState,
    *,
    world_size: int = 1,
    attempt: int = 1,
    generation: int = 1,
    fingerprint: str = SPEC,
) -> Committed:
    """Raises CheckpointError where a member could not write its parts."""
    files: list[PartFile] = []
    for report in save_parts(folder, state, world_size=world_size, attempt=attempt, generation=generation):
        if not isinstance(report, PartsWritten):
            raise CheckpointError(report.reason)
        files += [PartFile(name=name, size=size, xxh3=xxh3) for name, size, xxh3 in report.files]
    manifest = Manifest(
        step=state.step,
        attempt=attempt,
        generation=generation,
        fingerprint=fingerprint,
        committed="2030-01-01T00:00:00.000Z",
        metrics=state.metrics or {},
        parts=tuple(files),
        parameters_sha256=state.parameters_sha256(),
        optimizer_sha256=state.optimizer_sha256(),
    )
    return Catalog(place_of(folder)).commit(manifest)
