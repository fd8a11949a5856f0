import json
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.domain.errors import SpecError
from orchestrator.domain.spec import RunSpec, WorkersSpec, json_schema


def parsed(**values: Any) -> RunSpec:
    return RunSpec.parse({"task": "language_model", **values})


def test_a_task_alone_is_a_whole_spec() -> None:
    spec = parsed()
    assert (spec.version, spec.queue, spec.priority) == (1, "default", 50)
    assert spec.workers == WorkersSpec(min=1, max=1)
    assert (spec.train.steps, spec.train.epochs) == (1000, None)
    assert (spec.train.global_batch, spec.train.logical_shards) == (64, 8)
    assert spec.train.optimizer.betas == (0.9, 0.95)
    assert (spec.retry.hang_timeout, spec.retry.start_timeout) == (None, 600.0)
    assert (spec.checkpoint.every, spec.checkpoint.keep_last) == (100, 3)
    assert spec.data.source == "dataset://stdlib"
    assert spec.name


def test_keyword_arguments_with_nested_dicts_build_the_same_spec_as_parse() -> None:
    values: dict[str, Any] = {"name": "a", "task": "t", "workers": "1:4", "train": {"optimizer": {"lr": 1}}}
    assert RunSpec(**values) == RunSpec.parse(values)


def test_the_constructor_raises_what_pydantic_raises() -> None:
    with pytest.raises(ValidationError):
        RunSpec(task="t", train={"stps": 3})


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parsed().priority = 3  # type: ignore[misc]


def test_a_spec_survives_a_pickle_round_trip() -> None:
    spec = parsed(workers="1:4", model={"preset": "gpt-nano"})
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (2, (2, 2)),
        ("3", (3, 3)),
        ("1:4", (1, 4)),
        ([1, 4], (1, 4)),
        ((2, 4), (2, 4)),
        ({"min": 2, "max": 4}, (2, 4)),
        ({"min": 2}, (2, 2)),
        ({"max": 4}, (1, 4)),
        (WorkersSpec(min=2, max=3), (2, 3)),
        (None, (1, 1)),
    ],
)
def test_workers_may_be_written_in_every_usual_form(written: Any, expected: tuple[int, int]) -> None:
    workers = parsed(workers=written).workers
    assert (workers.min, workers.max) == expected


@pytest.mark.parametrize(
    ("values", "path", "expected"),
    [
        ({"checkpoint": {"every": "50 steps"}}, "checkpoint.every", 50),
        ({"checkpoint": {"every": "1 step"}}, "checkpoint.every", 1),
        ({"checkpoint": {"every": 7}}, "checkpoint.every", 7),
        ({"retry": {"start_timeout": "1h30m"}}, "retry.start_timeout", 5400.0),
        ({"retry": {"start_timeout": 5}}, "retry.start_timeout", 5.0),
        ({"retry": {"hang_timeout": "auto"}}, "retry.hang_timeout", None),
        ({"retry": {"hang_timeout": "90s"}}, "retry.hang_timeout", 90.0),
        ({"stop": {"max_duration": "2h", "grace": 0}}, "stop.max_duration", 7200.0),
        ({"resources": {"memory": "2Gi"}}, "resources.memory", 2 * 2**30),
        ({"train": {"steps": 1e3}}, "train.steps", 1000),
        ({"train": {"global_batch": 3}}, "train.logical_shards", 3),
        ({"train": {"epochs": 2}}, "train.steps", None),
        ({"train": {"optimizer": None, "clip_grad_norm": 1}}, "train.clip_grad_norm", 1.0),
    ],
)
def test_values_are_brought_to_their_unit(values: dict[str, Any], path: str, expected: object) -> None:
    found: Any = parsed(**values)
    for part in path.split("."):
        found = getattr(found, part)
    assert found == expected
    assert type(found) is type(expected)


def test_something_that_is_no_mapping_is_refused_as_a_spec_error() -> None:
    with pytest.raises(SpecError, match="expected a mapping of fields, got a list"):
        RunSpec.parse([1])  # type: ignore[arg-type]


def test_parsing_leaves_the_mapping_of_the_caller_alone() -> None:
    values = {"task": "t", "train": {"stps": 3, "steps": 1, "epochs": 1}}
    with pytest.raises(SpecError):
        RunSpec.parse(values)
    assert values == {"task": "t", "train": {"stps": 3, "steps": 1, "epochs": 1}}


def test_null_takes_the_default_but_stays_in_the_users_own_mappings() -> None:
    spec = parsed(name=None, train=None, checkpoint={"every": None}, model={"dropout": None})
    assert spec.train == parsed().train
    assert spec.checkpoint.every == 100
    assert spec.model == {"dropout": None}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"workers": "1:4", "resources": {"memory": "2Gi"}, "retry": {"hang_timeout": "auto"}},
        {"train": {"epochs": 2, "optimizer": {"name": "sgd", "momentum": 0.9}}},
        {"checkpoint": {"keep_best": {"metric": "val_loss"}}, "model": {"b": [1, {"a": "ä"}], "a": None}},
    ],
)
def test_canonical_json_reads_back_as_the_same_spec(values: dict[str, Any]) -> None:
    spec = parsed(**values)
    text = spec.canonical_json()
    again = RunSpec.parse(json.loads(text))
    assert again == spec
    assert again.canonical_json() == text
    assert again.fingerprint() == spec.fingerprint()


def test_canonical_json_has_sorted_keys_and_no_white_space() -> None:
    text = parsed(name="a").canonical_json()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_the_order_of_keys_does_not_change_the_fingerprint() -> None:
    assert parsed(model={"a": 1, "b": 2}).fingerprint() == parsed(model={"b": 2, "a": 1}).fingerprint()


@pytest.mark.parametrize("values", [{"name": "x"}, {"labels": {"a": "b"}}, {"queue": "q"}, {"priority": 1}])
def test_how_a_run_is_called_and_queued_does_not_change_the_fingerprint(values: dict[str, Any]) -> None:
    assert parsed(**values).fingerprint() == parsed().fingerprint()


@pytest.mark.parametrize(
    "values", [{"train": {"seed": 2}}, {"workers": 2}, {"model": {"a": 1}}, {"task": "other"}]
)
def test_what_a_run_does_changes_the_fingerprint(values: dict[str, Any]) -> None:
    assert parsed(**values).fingerprint() != parsed().fingerprint()


def test_the_fingerprint_is_64_hex_digits() -> None:
    assert len(bytes.fromhex(parsed().fingerprint())) == 32


def test_the_row_order_follows_the_train_seed_unless_it_has_its_own() -> None:
    assert parsed(train={"seed": 5}).shuffle_seed == 5
    assert parsed(train={"seed": 5}, data={"shuffle": {"seed": 0}}).shuffle_seed == 0


def test_a_window_of_null_is_the_whole_epoch_and_survives_being_written_down() -> None:
    assert parsed().data.shuffle.window == 10_000
    whole = parsed(data={"shuffle": {"window": None}})
    assert whole.data.shuffle.window is None
    assert RunSpec.parse(json.loads(whole.canonical_json())).data.shuffle.window is None


@pytest.mark.parametrize(
    ("source", "dataset", "files"),
    [
        ("dataset://stdlib", "stdlib", None),
        ("file:///data/*.txt", None, "/data/*.txt"),
        ("file://./data", None, "./data"),
        ("s3://bucket/data", None, None),
        ("data/**/*.txt", None, "data/**/*.txt"),
    ],
)
def test_a_source_is_a_dataset_by_name_or_files(source: str, dataset: str | None, files: str | None) -> None:
    data = parsed(data={"source": source}).data
    assert (data.dataset, data.files) == (dataset, files)


@pytest.mark.parametrize(
    ("storage", "path"), [("file://./runs", "runs"), ("/x/y", "/x/y"), ("file:///x", "/x")]
)
def test_storage_is_a_folder_with_or_without_a_scheme(storage: str, path: str) -> None:
    assert str(parsed(checkpoint={"storage": storage}).checkpoint.storage_path) == path


def test_the_json_schema_knows_every_field_its_bounds_and_the_short_forms() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(RunSpec.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["TrainSpec"]["properties"]["global_batch"]["minimum"] == 1
    assert schema["$defs"]["OptimizerSpec"]["properties"]["name"]["enum"] == ["adamw", "sgd"]
    forms = [form["type"] for form in schema["$defs"]["WorkersSpec"]["anyOf"]]
    assert forms == ["object", "integer", "string", "array"]
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    "values",
    [
        {"workers": 4},
        {"data": {"cpus": 1}},
        {"retry": {"max_failures": 9}},
        {"checkpoint": {"location": "s3://bucket", "keep_every": 200}},
    ],
)
def test_what_only_moves_a_run_about_does_not_change_the_fingerprint_of_its_result(
    values: dict[str, Any],
) -> None:
    assert parsed(**values).result_fingerprint() == parsed().result_fingerprint()


@pytest.mark.parametrize(
    "values",
    [
        {"train": {"seed": 2}},
        {"train": {"from_checkpoint": "otter@400"}},
        {"model": {"a": 1}},
        {"resources": {"threads": 2}},
    ],
)
def test_what_changes_the_bits_changes_the_fingerprint_of_the_result(values: dict[str, Any]) -> None:
    assert parsed(**values).result_fingerprint() != parsed().result_fingerprint()
