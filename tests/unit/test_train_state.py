from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from tests.unit.gang import gang
from trainers.elastic.group import ElasticGroup
from trainers.elastic.state import Agreement, TrainState, agree_on_newest

torch.set_num_threads(1)


class Tied(nn.Module):
    """Two names for one weight, and a buffer that no step changes."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 6)
        self.decode = nn.Linear(6, 6)
        self.decode.weight = self.encode.weight
        self.register_buffer("mask", torch.tensor([True, False, True, True, False, True, True]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(torch.tanh(self.encode(x)))


def fused_adamw(model: nn.Module) -> tuple[Optimizer, LRScheduler | None]:
    return AdamW(model.parameters(), lr=0.01, fused=True), None


def momentum(model: nn.Module) -> tuple[Optimizer, LRScheduler | None]:
    return SGD(model.parameters(), lr=0.01, momentum=0.9), None


def scheduled(model: nn.Module) -> tuple[Optimizer, LRScheduler | None]:
    groups = [{"params": [p], "weight_decay": 0.1 * p.ndim} for p in model.parameters()]
    optimizer = AdamW(groups, lr=0.1)
    return optimizer, LambdaLR(optimizer, lambda step: 1 / (1 + step))


Build = Callable[[nn.Module], tuple[Optimizer, LRScheduler | None]]
builds = pytest.mark.parametrize("build", [fused_adamw, momentum, scheduled])


def fresh(build: Build, seed: int = 0) -> TrainState:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Tied()
    return TrainState(model, *build(model))


def take_step(state: TrainState) -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(state.step))
    state.optimizer.zero_grad()
    state.model(x).square().sum().backward()
    state.optimizer.step()
    if state.schedule is not None:
        state.schedule.step()
    state.step += 1


def after(steps: int, build: Build, seed: int = 0) -> TrainState:
    state = fresh(build, seed)
    for _ in range(steps):
        take_step(state)
    return state


def bits(state: TrainState) -> tuple[Any, ...]:
    rates = [group["lr"] for group in state.optimizer.param_groups]
    return state.step, rates, state.checksum(), state.parameters_sha256(), state.optimizer_sha256()


@dataclass
class Member:
    """What is seen of a member that agreed with the others, and then took one more step with them."""

    agreement: Agreement
    agreed: tuple[Any, ...]
    next: tuple[Any, ...]
    kept: bool
    """Its optimizer state still lies where it lay: nothing was copied into it."""


def meet(*states: TrainState) -> list[Member]:
    def work(group: ElasticGroup) -> Member:
        state = states[group.rank]
        places = [tensor.data_ptr() for tensor in state.tensors()]
        agreement = agree_on_newest(group, state)
        kept = places == [tensor.data_ptr() for tensor in state.tensors()]
        agreed = bits(state)
        take_step(state)
        return Member(agreement, agreed, bits(state), kept)

    return gang(len(states), work)


@builds
def test_one_that_is_a_step_ahead_brings_the_others_along(build: Build) -> None:
    members = meet(after(3, build), after(4, build), after(3, build))
    for member in members:
        assert (member.agreement.step, member.agreement.source, member.agreement.copied) == (4, 1, True)
        assert member.agreed == bits(after(4, build))
        assert member.next == bits(after(5, build)), "the next step gives the bits of a run without a loss"


@builds
def test_a_newcomer_gets_all_that_the_survivors_have(build: Build) -> None:
    members = meet(after(5, build), after(5, build), fresh(build, seed=99))
    for member in members:
        assert member.agreement.source == 0
        assert member.agreed == bits(after(5, build))
        assert member.next == bits(after(6, build))
    assert [member.kept for member in members] == [True, True, False]


@builds
def test_members_with_equal_state_copy_nothing(build: Build) -> None:
    members = meet(after(2, build), after(2, build), after(2, build))
    for member in members:
        assert (member.agreement.step, member.agreement.source, member.agreement.copied) == (2, 0, False)
        assert member.kept
        assert member.agreed == bits(after(2, build))


def test_fresh_members_start_from_the_same_bits() -> None:
    members = meet(fresh(momentum, seed=1), fresh(momentum, seed=2))
    assert members[0].agreed == members[1].agreed == bits(fresh(momentum, seed=1))
    assert members[0].next == members[1].next


def test_validation_metrics_travel_with_the_state() -> None:
    ahead = after(2, momentum)
    ahead.metrics, ahead.evaluated_step = {"val_loss": 0.25}, 2
    newcomer = fresh(momentum)
    meet(ahead, newcomer)
    assert (newcomer.metrics, newcomer.evaluated_step) == ({"val_loss": 0.25}, 2)


def test_tied_weights_stay_one_tensor_after_a_copy() -> None:
    newcomer = fresh(fused_adamw, seed=3)
    meet(after(2, fused_adamw), newcomer)
    assert newcomer.model.encode.weight is newcomer.model.decode.weight
    assert len(list(newcomer.model.parameters())) == 3


@builds
def test_restoring_a_snapshot_gives_back_every_bit(build: Build) -> None:
    state, other = after(3, build), fresh(build, seed=5)
    other.restore(state.snapshot())
    assert bits(other) == bits(state)


@pytest.mark.parametrize("place", range(7))
def test_checksum_and_hashes_see_a_change_of_one_bit_in_any_tensor(place: int) -> None:
    """Three parameters, the buffer, then the momentum of each parameter."""
    state = after(1, momentum)
    before = bits(state)
    tensor = list(state.tensors())[place]
    octets = tensor.view(-1).view(torch.uint8)
    octets[-1] ^= 1
    _, _, checksum, parameters, optimizer = bits(state)
    assert checksum != before[2]
    assert (parameters != before[3]) == (place < 3)
    assert (optimizer != before[4]) == (place > 3)
