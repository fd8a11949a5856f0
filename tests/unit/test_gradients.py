from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orchestrator.domain.errors import SpecError
from orchestrator.domain.shards import Node, maximal_nodes, middle, owned_shards
from trainers.elastic.gradients import COUNT, LOSS, GradientVector
from trainers.elastic.partials import Forward, StepGradients
from trainers.task import ShardLoss

torch.set_num_threads(1)


class Tied(nn.Module):
    """The first weight is used twice, so two gradients meet in it within one shard; one bias is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(5, 5)
        self.outer = nn.Linear(5, 3)
        self.inner.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        once = torch.tanh(self.inner(x))
        return self.outer(torch.tanh(once @ self.inner.weight))


class Losses:
    """The loss of a shard at a step, and a count of how often each was computed."""

    def __init__(self, model: nn.Module, empty: tuple[int, ...] = ()):
        self.model = model
        self.empty = empty
        self.computed: list[tuple[int, int]] = []

    def of_step(self, step: int) -> Callable[[int], Sequence[Forward]]:
        return lambda shard: self.forwards(step, shard)

    def forwards(self, step: int, shard: int) -> Sequence[Forward]:
        self.computed.append((step, shard))
        return [] if shard in self.empty else [partial(self, step, shard)]

    def __call__(self, step: int, shard: int) -> ShardLoss:
        generator = torch.Generator().manual_seed(100 * step + shard)
        x = torch.randn(4, 5, generator=generator) * 10.0 ** (shard % 5 - 2)
        errors = self.model(x).square().sum(dim=1)
        return ShardLoss(errors.sum(), len(x) + shard, {"largest": float(errors.detach().max())})

    def taken(self) -> list[tuple[int, int]]:
        computed, self.computed = self.computed, []
        return computed


@pytest.fixture
def losses() -> Losses:
    return Losses(Tied())


def start(losses: Losses) -> tuple[GradientVector, StepGradients]:
    vector = GradientVector(losses.model.parameters(), ["largest"])
    return vector, StepGradients(vector)


def naive(vector: GradientVector, losses: Losses, step: int, node: Node) -> torch.Tensor:
    """Each leaf by itself into a fresh vector, then pairs of vectors up the tree."""
    lo, hi = node
    if hi - lo > 1:
        return naive(vector, losses, step, (lo, middle(node))) + naive(
            vector, losses, step, (middle(node), hi)
        )
    leaf = vector.zeros()
    if lo in losses.empty:
        return leaf
    loss = losses(step, lo)
    found = torch.autograd.grad(loss.total, vector.parameters)
    vector.bind(leaf)
    for parameter, gradient in zip(vector.parameters, found, strict=True):
        assert parameter.grad is not None
        parameter.grad += gradient
    sums = [float(loss.total.detach()), float(loss.count), loss.sums["largest"]]
    leaf[vector.num_gradients :] += torch.tensor(sums)
    return leaf


def assert_same_bits(one: torch.Tensor, other: torch.Tensor) -> None:
    assert torch.equal(one.view(torch.int32), other.view(torch.int32))


ranges = st.integers(1, 9).flatmap(
    lambda num_shards: st.tuples(
        st.just(num_shards),
        st.lists(
            st.integers(1, num_shards).flatmap(
                lambda size: st.tuples(st.integers(0, size - 1), st.just(size)),
            ),
            min_size=1,
            max_size=4,
        ),
        st.sets(st.integers(0, num_shards - 1), max_size=2),
    )
)


@given(ranges)
@settings(max_examples=40, deadline=None)
def test_partials_are_those_of_the_tree_bit_for_bit_however_ownership_changed_before(
    history: tuple[int, list[tuple[int, int]], set[int]],
) -> None:
    """`history`: logical shards, (rank, world size) from one generation to the next, shards without rows."""
    num_shards, places, empty = history
    losses = Losses(Tied(), tuple(empty))
    vector, gradients = start(losses)
    for rank, world_size in places:
        owned = owned_shards(num_shards, rank, world_size)
        partials = gradients.partials(3, owned, num_shards, losses.of_step(3))
        assert list(partials) == maximal_nodes(owned, num_shards)
        for node, found in partials.items():
            assert_same_bits(found, naive(vector, losses, 3, node))


def test_after_a_loss_only_the_leaves_that_nobody_holds_are_computed(losses: Losses) -> None:
    _, gradients = start(losses)
    gradients.partials(5, (0, 4), 8, losses.of_step(5))
    assert losses.taken() == [(5, 0), (5, 1), (5, 2), (5, 3)]
    gradients.partials(5, (0, 8), 8, losses.of_step(5))
    assert losses.taken() == [(5, 4), (5, 5), (5, 6), (5, 7)]
    gradients.partials(5, (0, 8), 8, losses.of_step(5))
    assert losses.taken() == [], "the same part of the same step again"


def test_what_was_held_of_one_step_is_never_used_for_another(losses: Losses) -> None:
    vector, gradients = start(losses)
    for step in (1, 2, 7, 2):
        partial = gradients.partials(step, (0, 4), 4, losses.of_step(step))[0, 4]
        assert losses.taken() == [(step, shard) for shard in range(4)]
        assert_same_bits(partial, naive(vector, losses, step, (0, 4)))
        losses.taken()


@pytest.mark.parametrize("held", [(1, 2), (2, 3), (1, 3)])
def test_a_part_of_a_node_that_is_held_is_not_computed_again(losses: Losses, held: Node) -> None:
    vector, gradients = start(losses)
    gradients.partials(5, held, 3, losses.of_step(5))
    losses.taken()
    partial = gradients.partials(5, (0, 3), 3, losses.of_step(5))[0, 3]
    assert losses.taken() == [(5, shard) for shard in range(3) if shard not in range(*held)]
    assert_same_bits(partial, naive(vector, losses, 5, (0, 3)))


def test_from_the_second_step_on_no_memory_is_asked_for(
    losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    vector, gradients = start(losses)
    new: list[torch.Tensor] = []
    zeros = vector.zeros
    monkeypatch.setattr(vector, "zeros", lambda: new.append(zeros()) or new[-1])
    gradients.partials(1, (0, 8), 8, losses.of_step(1))
    assert len(new) == 3, "one for each level of the tree but the leaves that are added in place"
    for step in (2, 3, 4):
        gradients.partials(step, (0, 8), 8, losses.of_step(step))
    assert len(new) == 3


def test_a_shard_without_rows_adds_nothing(losses: Losses) -> None:
    vector, gradients = start(losses)
    losses.empty = (0, 1, 2, 3)
    partial = gradients.partials(1, (0, 4), 4, losses.of_step(1))[0, 4]
    assert_same_bits(partial, torch.zeros(vector.length))
    assert vector.means(partial) == (0.0, {"loss": 0.0})


def test_no_shards_no_partials(losses: Losses) -> None:
    _, gradients = start(losses)
    assert gradients.partials(1, (2, 2), 4, losses.of_step(1)) == {}
    assert losses.taken() == []


def test_loss_count_and_further_sums_ride_along_and_are_divided_by_the_count(losses: Losses) -> None:
    vector, gradients = start(losses)
    total = gradients.partials(1, (0, 2), 2, losses.of_step(1))[0, 2]
    first, second = losses(1, 0), losses(1, 1)
    riding, loss = total[vector.num_gradients :], float((first.total + second.total).detach())
    assert float(riding[COUNT]) == 4 + 5
    assert float(riding[LOSS]) == pytest.approx(loss)
    count, means = vector.means(total)
    assert count == 9
    assert means["loss"] == pytest.approx(loss / 9)
    assert means["largest"] == pytest.approx((first.sums["largest"] + second.sums["largest"]) / 9)


def test_each_gradient_is_its_part_of_the_vector_and_no_two_overlap() -> None:
    model = Tied()
    vector = GradientVector(model.parameters())
    flat = torch.arange(vector.length, dtype=torch.float32)
    vector.bind(flat)

    def places() -> Iterator[float]:
        for parameter in vector.parameters:
            assert parameter.grad is not None
            assert parameter.grad.shape == parameter.shape
            yield from parameter.grad.flatten().tolist()

    taken = list(places())
    assert len(set(taken)) == len(taken) == 25 + 15 + 3
    assert max(taken) < vector.num_gradients == vector.length - 2
    assert model.inner.bias.grad is None


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Linear(2, 2).requires_grad_(False), "model: it has no trainable parameters"),
        (nn.Linear(2, 2).double(), "model: trainable parameters must be float32, these are torch.float64"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_in_one_sentence(model: nn.Module, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        GradientVector(model.parameters())
    assert str(caught.value).startswith(sentence)
