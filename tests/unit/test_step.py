import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from orchestrator.domain.errors import SpecError
from tests.unit.gang import gang
from tests.unit.steps import NoConfig, Wide, do, runner
from trainers.elastic.gradients import BucketWatch, GradientVector
from trainers.elastic.group import ElasticGroup, GroupBrokenError
from trainers.elastic.step import StepRunner
from trainers.task import ShardLoss

torch.set_num_threads(1)


class Still(Wide):
    """Without dropout: members that are threads share their random numbers."""

    dropout = 0.0

    def __init__(self) -> None:
        super().__init__(NoConfig())
        self.num_losses = 0

    def loss(self, model: nn.Module, batch: Any) -> ShardLoss:
        self.num_losses += 1
        return super().loss(model, batch)


class Moody(Still):
    """Weighs the loss by how often it was asked."""

    def loss(self, model: nn.Module, batch: Any) -> ShardLoss:
        found = super().loss(model, batch)
        return ShardLoss(found.total * (1 + 1e-6 * self.num_losses), found.count, found.sums)


class Normed(Still):
    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


def alone(steps: StepRunner, num_steps: int) -> str:
    gang(1, lambda group: do(steps, group, num_steps))
    return steps.state.parameters_sha256()


def die_in_backward_pass(number: int, steps: StepRunner, group: ElasticGroup) -> None:
    """Close the group when the gradient of a layer in the middle arrives: one bucket is sent, others are
    not."""
    arrivals = itertools.count(1)

    def arrived(parameter: torch.Tensor) -> None:
        if next(arrivals) == number:
            group.close()

    parameter = list(steps.state.model.parameters())[2]
    parameter.register_post_accumulate_grad_hook(arrived)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("consistency", "num_shards_lost"), [("bitwise", 2), ("fast", 1)])
def test_a_member_lost_in_the_middle_of_a_sum_breaks_the_step_and_what_survives_is_used(
    consistency: str, num_shards_lost: int
) -> None:
    task = Still()
    survivor = runner(task, {"consistency": consistency})
    victim = runner(Still(), {"consistency": consistency})
    parted = threading.Barrier(2)

    def work(group: ElasticGroup) -> None:
        steps = (survivor, victim)[group.rank]
        do(steps, group, 1)
        if group.rank == 1:
            die_in_backward_pass(num_shards_lost, steps, group)
        task.num_losses = 0
        parted.wait(20)
        with pytest.raises(GroupBrokenError):
            do(steps, group, 1)

    gang(2, work)
    assert survivor.state.step == 1
    computed = task.num_losses
    task.num_losses = 0
    sha256 = alone(survivor, 1)
    if consistency == "bitwise":
        assert computed == 3, "its shards of the step that broke"
        assert task.num_losses == num_shards_lost
        assert sha256 == alone(runner(Still()), 2)


def test_what_is_sent_early_does_not_change_a_bit_however_buckets_are_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = alone(runner(Still()), 3)
    found = set()
    for sizes in ((1, 1), (2**12, 2**13), (2**22, 2**22)):
        monkeypatch.setattr("trainers.elastic.gradients._BUCKET_SIZES", sizes)
        members = [runner(Still()) for _ in range(3)]
        gang(3, lambda group, members=members: do(members[group.rank], group, 3))  # type: ignore[misc]
        found |= {member.state.parameters_sha256() for member in members}
    assert found == {whole}


def test_flags_of_all_members_arrive_with_the_step() -> None:
    members = [runner(Still()) for _ in range(3)]

    def work(group: ElasticGroup) -> list[float]:
        flags = torch.tensor([float(group.rank == 1), float(group.rank)])
        raised: list[float] = members[group.rank].step(group, flags, 1)[1].tolist()
        return raised

    assert gang(3, work) == [[1.0, 2.0]] * 3


def test_a_task_that_is_not_deterministic_is_refused_where_bits_count() -> None:
    with pytest.raises(SpecError, match="task: the same rows with the same seed gave other bits") as caught:
        runner(Moody())
    assert "train.consistency to fast" in str(caught.value)
    runner(Moody(), {"consistency": "fast"})


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda loss: loss.total, "its loss returns a Tensor, expected a ShardLoss"),
        (lambda loss: None, "its loss returns a NoneType, expected a ShardLoss"),
        (lambda loss: ShardLoss(0.5, loss.count), "the total of its loss is a float"),
        (lambda loss: ShardLoss(loss.total.expand(2), loss.count), r"of its loss has shape \[2\]"),
        (lambda loss: ShardLoss(loss.total.detach(), loss.count), "the total of its loss has no gradient"),
    ],
)
def test_a_loss_that_is_no_sum_is_refused(spoil: Callable[[ShardLoss], Any], sentence: str) -> None:
    class Spoilt(Still):
        def loss(self, model: nn.Module, batch: Any) -> Any:
            return spoil(super().loss(model, batch))

    with pytest.raises(SpecError, match=f"^task: .*{sentence}"):
        runner(Spoilt())


@pytest.mark.parametrize("consistency", ["bitwise", "fast"])
def test_running_statistics_are_refused(consistency: str) -> None:
    with pytest.raises(SpecError, match=r"model: buffer '1\.running_mean' changes"):
        runner(Normed(), {"consistency": consistency})


def buckets_in_order(model: nn.Module, x: torch.Tensor, *, rehearse: bool = False) -> list[tuple[int, bool]]:
    """(bucket, whether it was told while the backward pass went on), with one bucket per parameter."""
    vector = GradientVector(model.parameters())
    watch = BucketWatch(vector)
    told: list[tuple[int, bool]] = []
    going_on = True
    vector.bind(vector.zeros())
    if rehearse:
        with watch.rehearsing():
            model(x).sum().backward()
    with watch.telling(lambda bucket: told.append((bucket, going_on))):
        model(x).sum().backward()
        going_on = False
    return told


@pytest.fixture
def a_bucket_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.elastic.gradients._BUCKET_SIZES", (1, 1))


@pytest.mark.usefixtures("a_bucket_each")
def test_buckets_are_told_in_order_while_the_backward_pass_goes_on() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    assert buckets_in_order(model, torch.ones(2, 4)) == [(bucket, True) for bucket in range(4)]


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.unused, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x))


@pytest.mark.usefixtures("a_bucket_each")
def test_buckets_behind_a_parameter_without_a_gradient_are_told_at_the_end() -> None:
    told = buckets_in_order(Half(), torch.ones(2, 4))
    assert told == [(0, True), (1, True), *((bucket, False) for bucket in range(2, 6))]


class Again(nn.Module):
    """Uses one layer twice, under reentrant checkpointing: its gradient arrives in two pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_()
        for _ in range(2):
            x = checkpoint(self.layer, x, use_reentrant=True)
        return x


@pytest.mark.usefixtures("a_bucket_each")
def test_gradients_that_arrive_in_pieces_are_told_at_the_end_once_that_is_known() -> None:
    assert buckets_in_order(Again(), torch.ones(2, 4), rehearse=True) == [(0, False), (1, False)]
    with pytest.raises(RuntimeError, match="arrived a second time after it was sent"):
        buckets_in_order(Again(), torch.ones(2, 4))
