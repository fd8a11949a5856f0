"""What is said of a spec whose checkpoints cannot be meant."""

from typing import Any

import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.domain.spec import RunSpec


def problems_of(**values: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        RunSpec.parse({"task": "language_model", **values})
    return {problem.pointer: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("values", "pointer", "sentence"),
    [
        (
            {"checkpoint": {"location": "s3://"}},
            "checkpoint.location",
            "expected a folder or a URI such as 's3://bucket/prefix', got 's3://'",
        ),
        (
            {"checkpoint": {"every": 100, "keep_every": 250}},
            "checkpoint.keep_every",
            "expected a multiple of checkpoint.every (100), got 250",
        ),
        (
            {"train": {"from_checkpoint": "otter@latest"}},
            "train.from_checkpoint",
            "expected @STEP such as @400, or @best, got '@latest'",
        ),
        (
            {"train": {"from_checkpoint": ""}},
            "train.from_checkpoint",
            "expected a run, a path or a URI, perhaps with @STEP or @best, got ''",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(values: dict[str, Any], pointer: str, sentence: str) -> None:
    assert problems_of(**values) == {pointer: sentence}


@pytest.mark.parametrize(
    "values",
    [
        {"train": {"from_checkpoint": "otter"}},
        {"checkpoint": {"location": "s3://bucket"}},
        {"checkpoint": {"keep_every": 100}},
        {"checkpoint": {"keep_best": {"metric": "val_loss"}}},
    ],
)
def test_what_only_tasks_have_is_refused_of_other_runs(values: dict[str, Any]) -> None:
    ((section, fields),) = values.items()
    assert problems_of(task=None, command="true", **values) == {
        f"{section}.{field}": "only a task has this, the kind of this run is command; remove it"
        for field in fields
    }
