import pytest
import torch
from torch import nn

from orchestrator.domain.spec_training import OptimizerSpec, ScheduleSpec
from trainers.optimization import default_optimizer, default_schedule, learning_rate_factor


def factors(spec: ScheduleSpec, num_steps: int) -> list[float]:
    return [round(learning_rate_factor(spec, num_steps, done), 4) for done in range(num_steps)]


def test_a_constant_rate_rises_in_the_warm_up_and_stays() -> None:
    assert factors(ScheduleSpec(warmup_steps=4), 6) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_a_cosine_starts_at_one_and_ends_at_the_final_fraction() -> None:
    assert factors(ScheduleSpec(name="cosine", final_fraction=0.2), 5) == [1, 0.8828, 0.6, 0.3172, 0.2]
    assert factors(ScheduleSpec(name="cosine", warmup_steps=2, final_fraction=0), 5) == [0.5, 1, 1, 0.5, 0]


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_a_run_of_few_steps_has_a_schedule_too(num_steps: int) -> None:
    spec = ScheduleSpec(name="cosine", warmup_steps=2)
    assert all(0 < learning_rate_factor(spec, num_steps, done) <= 1 for done in range(10))


def test_a_rate_that_never_changes_needs_no_schedule() -> None:
    optimizer = default_optimizer(nn.Linear(2, 2), OptimizerSpec())
    assert default_schedule(optimizer, ScheduleSpec(), 10) is None


def test_the_schedule_sets_the_rate_of_the_step_to_come() -> None:
    optimizer = default_optimizer(nn.Linear(2, 2), OptimizerSpec(lr=0.8))
    schedule = default_schedule(optimizer, ScheduleSpec(warmup_steps=4), 10)
    assert schedule is not None
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])


def test_weight_decay_leaves_gains_and_biases_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    optimizer = default_optimizer(model, OptimizerSpec(weight_decay=0.1))
    decayed = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: decayed[id(p)] for name, p in model.named_parameters()}
    assert found == {"0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}


def test_frozen_parameters_are_not_trained() -> None:
    model = nn.Linear(3, 3)
    model.bias.requires_grad_(False)
    (group,) = default_optimizer(model, OptimizerSpec()).param_groups
    assert group["params"] == [model.weight]


def test_the_numbers_of_the_spec_reach_the_optimizer() -> None:
    adamw = default_optimizer(nn.Linear(2, 2), OptimizerSpec(lr=0.5, betas=(0.5, 0.6)))
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["betas"]) == (0.5, (0.5, 0.6))
    sgd = default_optimizer(nn.Linear(2, 2), OptimizerSpec(name="sgd", lr=0.5, momentum=0.7))
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"]) == (0.5, 0.7)
