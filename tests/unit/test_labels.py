"""A run that asks for nodes with labels: which are for it, and what is said where there are none."""

import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.domain.spec import RunSpec
from trainers.ray_session import carries, check_labels


def spec_of(**labels: str) -> RunSpec:
    return RunSpec.parse({"task": "language_model", "resources": {"labels": labels}, "train": {"steps": 1}})


def test_a_node_must_carry_all_of_them() -> None:
    spec = spec_of(disk="fast", gpu="a100")
    assert carries({"disk": "fast", "gpu": "a100", "more": "x"}, spec)
    assert not carries({"disk": "fast"}, spec)
    assert carries({}, spec_of())
    assert carries({}, spec_of(disk="!in(slow,broken)")), "what Ray has operators for is left to it"


def test_a_label_that_nobody_has_is_said_with_those_there_are() -> None:
    nodes = [{"ray.io/node-id": "a", "disk": "slow"}, {"ray.io/node-id": "b", "disk": "slow"}]
    check_labels(spec_of(disk="slow"), nodes)
    with pytest.raises(SpecError, match="no node has the labels disk=fast: there are disk=slow"):
        check_labels(spec_of(disk="fast"), nodes)
    with pytest.raises(SpecError, match="they carry none"):
        check_labels(spec_of(disk="fast"), [{"ray.io/node-id": "a"}])
