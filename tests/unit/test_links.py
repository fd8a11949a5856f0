import pytest
import torch

from tests.unit.test_duties_faults import point, state_at
from trainers.elastic.links import Linker


@pytest.mark.parametrize(("step", "due"), [(1, False), (4, True), (6, False), (8, True), (10, True)])
def test_every_few_steps_and_at_the_last_one_the_record_of_a_step_brings_hashes(step: int, due: bool) -> None:
    state = state_at(step)
    bare = point(step)
    linked = Linker(state, every=4, num_steps=10).linked(bare)
    assert (linked is bare) is not due
    if due:
        assert linked.parameters_sha256 == state.parameters_sha256()
        assert linked.optimizer_sha256 == state.optimizer_sha256()


def test_optimizer_state_changes_its_own_hash_only() -> None:
    state = state_at(1)
    state.optimizer = torch.optim.AdamW(state.model.parameters())
    for parameter in state.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    linker = Linker(state, every=1, num_steps=10)
    before = linker.linked(point(1))
    next(iter(state.optimizer.state.values()))["exp_avg"] += 1
    after = linker.linked(point(1))
    assert after.parameters_sha256 == before.parameters_sha256
    assert after.optimizer_sha256 != before.optimizer_sha256
