from typing import Any

import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.domain.spec import RunSpec


def problems_of(**values: Any) -> dict[str, str]:
    """Pointer -> sentence of everything wrong with a task run that has these fields besides."""
    with pytest.raises(SpecError) as caught:
        RunSpec.parse({"task": "language_model", **values})
    found = [(problem.pointer, problem.message) for problem in caught.value.problems]
    assert len(dict(found)) == len(found), f"a pointer was reported twice: {found}"
    return dict(found)


@pytest.mark.parametrize(
    ("values", "pointer", "sentence"),
    [
        ({"workers": {"mx": 3}}, "workers.mx", "unknown field, did you mean 'max'?"),
        ({"lr": 3}, "lr", "unknown field, did you mean 'train.optimizer.lr'?"),
        ({"steps": 3}, "steps", "unknown field, did you mean 'train.steps'?"),
        ({"num_workers": 3}, "num_workers", "unknown field, did you mean 'workers'?"),
        ({"Priority": 3}, "Priority", "unknown field, did you mean 'priority'?"),
        ({"log": {"zzz": 1}}, "log.zzz", "unknown field, expected one of: tensorboard, mlflow, wandb"),
        (
            {"train": {"steps": "50"}},
            "train.steps",
            "expected a whole number, got the text '50'; remove the quotes",
        ),
        ({"train": {"steps": 0}}, "train.steps", "expected at least 1, got 0"),
        ({"train": {"steps": True}}, "train.steps", "expected a whole number, got true"),
        ({"train": {"steps": [3]}}, "train.steps", "expected a whole number, got a list"),
        ({"train": 5}, "train", "expected a mapping of fields, got the number 5"),
        ({"train": {"optimizer": {"lr": 0}}}, "train.optimizer.lr", "expected more than 0, got 0.0"),
        (
            {"train": {"optimizer": {"lr": float("nan")}}},
            "train.optimizer.lr",
            "expected a finite number, got nan",
        ),
        (
            {"train": {"optimizer": {"name": "adam"}}},
            "train.optimizer.name",
            "unknown value 'adam', did you mean 'adamw'?",
        ),
        (
            {"train": {"schedule": {"name": 3}}},
            "train.schedule.name",
            "expected 'constant' or 'cosine', got the number 3",
        ),
        ({"train": {"optimizer": {"betas": [0.9]}}}, "train.optimizer.betas", "expected 2 values, got 1"),
        (
            {"train": {"optimizer": {"betas": [0.9, 0.9, 0.9]}}},
            "train.optimizer.betas",
            "expected 2 values, got 3",
        ),
        (
            {"train": {"optimizer": {"betas": [0.9, 1]}}},
            "train.optimizer.betas.1",
            "expected less than 1, got 1.0",
        ),
        ({"priority": 101}, "priority", "expected at most 100, got 101"),
        ({"name": 7}, "name", "expected text, got the number 7; put it in quotes"),
        (
            {"name": "My_Run"},
            "name",
            "expected lower-case letters, digits and inner dashes, got 'My_Run', try 'my-run'",
        ),
        ({"labels": {"team": 5}}, "labels.team", "expected text, got the number 5; put it in quotes"),
        ({"labels": {5: "x"}}, "labels.5", "expected text as key, got the number 5"),
        (
            {"log": {"tensorboard": "on"}},
            "log.tensorboard",
            "expected true or false, got the text 'on'; write true",
        ),
        ({"secrets": "API_KEY"}, "secrets", "expected a list, got the text 'API_KEY'"),
        ({"secrets": ["A", "A"]}, "secrets", "expected each name once, got 'A' more than once"),
        (
            {"code": {"env": {"A-B": "x"}}},
            "code.env.A-B",
            "expected the name of an environment variable such as 'API_KEY', got 'A-B'",
        ),
        (
            {"checkpoint": {"keep_best": {"mode": "max"}}},
            "checkpoint.keep_best.metric",
            "is required but missing",
        ),
        (
            {"checkpoint": {"every": "1 epoch"}},
            "checkpoint.every",
            "expected a number of steps such as 100 or '100 steps', got '1 epoch'",
        ),
        (
            {"checkpoint": {"storage": "s3://bucket"}},
            "checkpoint.storage",
            "expected a folder such as './runs' or 'file:///data/runs', got scheme 's3'",
        ),
        (
            {"resources": {"memory": 2}},
            "resources.memory",
            "expected at least 1Mi, got 2 bytes; add a unit, such as '2Gi'",
        ),
        ({"resources": {"gpu": 1.5}}, "resources.gpu", "more than one GPU must be a whole number, got 1.5"),
        (
            {"retry": {"hang_timeout": "soon"}},
            "retry.hang_timeout",
            "expected 'auto' or a duration such as '30s', '10m' or '1h30m', got 'soon'",
        ),
        (
            {"data": {"source": "dataset://My Set"}},
            "data.source",
            "expected lower-case letters, digits and inner dashes, got 'My Set', try 'my-set'",
        ),
        (
            {"data": {"source": "datset://x"}},
            "data.source",
            "unknown scheme 'datset', did you mean 'dataset://'?",
        ),
        (
            {"data": {"source": "s3://"}},
            "data.source",
            "expected 'dataset://NAME', a path, a glob or a URI, got 's3://'",
        ),
        ({"data": {"shuffle": {"window": 0}}}, "data.shuffle.window", "expected at least 1, got 0"),
        ({"data": {"validation_fraction": 1}}, "data.validation_fraction", "expected less than 1, got 1.0"),
        (
            {"version": 2},
            "version",
            "expected 1, the only spec version that this Tumbler reads, got the number 2",
        ),
        ({"model": {"a": [{"b": float("inf")}]}}, "model.a.0.b", "expected a finite number, got inf"),
        (
            {"model": {"a": object()}},
            "model.a",
            "expected a value that JSON can hold, got a value of type object",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_clear_sentence(
    values: dict[str, Any], pointer: str, sentence: str
) -> None:
    assert problems_of(**values) == {pointer: sentence}


@pytest.mark.parametrize(
    ("values", "pointer", "sentence"),
    [
        ({"shard": 2}, "parallelism.shard", "only 1 is available in this version, got the number 2"),
        ({"tensor": True}, "parallelism.tensor", "only 1 is available in this version, got true"),
        (
            {"replicate": 2},
            "parallelism.replicate",
            "only 'auto' is available in this version, got the number 2",
        ),
        (
            {"sync": "diloco"},
            "parallelism.sync",
            "only 'allreduce' is available in this version, got the text 'diloco'",
        ),
    ],
)
def test_what_this_version_cannot_do_is_refused_by_name(
    values: dict[str, Any], pointer: str, sentence: str
) -> None:
    assert problems_of(parallelism=values) == {pointer: sentence}


def test_an_unknown_consistency_is_refused_by_name() -> None:
    (sentence,) = problems_of(train={"consistency": "quick"}).values()
    assert "'bitwise'" in sentence
    assert "'fast'" in sentence


@pytest.mark.parametrize(
    ("values", "pointer", "sentence"),
    [
        ({"workers": "4:1"}, "workers.min", "expected at most workers.max (1), got 4"),
        (
            {"workers": 9},
            "workers.max",
            "expected at most train.logical_shards (8), got 9;"
            " lower it, or set train.logical_shards to 9 or more",
        ),
        (
            {"train": {"global_batch": 4, "logical_shards": 5}},
            "train.logical_shards",
            "expected at most train.global_batch (4), got 5",
        ),
        (
            {"train": {"steps": 5, "epochs": 1}},
            "train.epochs",
            "expected steps or epochs, got both (5 and 1); remove one",
        ),
        (
            {"train": {"steps": 5, "schedule": {"warmup_steps": 6}}},
            "train.schedule.warmup_steps",
            "expected at most train.steps (5), got 6",
        ),
        (
            {"train": {"optimizer": {"momentum": 0.9}}},
            "train.optimizer.momentum",
            "only sgd has momentum, adamw takes betas; remove it or set name to sgd",
        ),
        (
            {"command": "x"},
            "command",
            "expected one of task, entrypoint or command, got task and command; keep one",
        ),
        (
            {"config": {"a": 1}},
            "config",
            "only an entrypoint reads config, the kind of this run is task; remove it",
        ),
    ],
)
def test_fields_that_do_not_go_together_are_refused(
    values: dict[str, Any], pointer: str, sentence: str
) -> None:
    assert problems_of(**values) == {pointer: sentence}


def test_a_spec_without_a_kind_of_run_is_told_what_to_add() -> None:
    with pytest.raises(SpecError) as caught:
        RunSpec.parse({})
    assert (
        str(caught.value)
        == "expected one of task, entrypoint or command, got none; add 'task: language_model'"
    )


def test_only_tasks_are_held_to_the_logical_shards() -> None:
    assert RunSpec.parse({"command": "python train.py", "workers": 64}).workers.max == 64


def test_all_problems_come_at_once_even_where_one_hides_another() -> None:
    found = problems_of(
        workers="4:2",
        priority=-1,
        data={"source": "s3://", "shufle": {}},
        train={"steps": 3, "epochs": 4, "global_batch": 2, "logical_shards": 4, "optimizer": {"lr": "fast"}},
        secrets=["A", "A"],
        command="python train.py",
    )
    assert set(found) == {
        "workers.min",
        "priority",
        "data.source",
        "data.shufle",
        "train.epochs",
        "train.logical_shards",
        "train.optimizer.lr",
        "secrets",
        "command",
    }


@pytest.mark.parametrize(
    ("values", "only"),
    [
        ({"workers": 16, "train": {"logical_shards": "many"}}, "train.logical_shards"),
        (
            {"workers": 16, "train": {"global_bach": 64, "logical_shards": 64}},
            "train.global_bach",
        ),
        ({"workers": {"mx": 4, "min": 2}}, "workers.mx"),
        ({"task": None, "tsk": "language_model"}, "tsk"),
        ({"task": 5}, "task"),
    ],
)
def test_what_only_follows_from_another_problem_is_not_reported(values: dict[str, Any], only: str) -> None:
    assert set(problems_of(**values)) == {only}


@pytest.mark.parametrize("written", [True, "1-4", "a", [1, 2, 3], 1.5, "1:2:3", ""])
def test_workers_in_another_form_are_refused_with_the_forms_that_work(written: Any) -> None:
    assert problems_of(workers=written)["workers"].startswith(
        "expected 2, '1:4', [1, 4] or {min: 1, max: 4}, got "
    )
