import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_file import load_spec, parse_source, parse_spec

PUBLISHED = """\
version: 1
name: gpt-stdlib                 # default: generated, e.g. brave-otter-7f3a
labels: {team: nlp}
task: language_model
model: {preset: gpt-nano}
workers: 2:4
resources: {cpu: 1, gpu: 0, memory: 2Gi, threads: 1, labels: {}}
code: {working_dir: ., exclude: [], env: {}, pip: []}
secrets: [WANDB_API_KEY]
parallelism: {replicate: auto, shard: 1, tensor: 1, pipeline: 1, sync: allreduce, compression: none}
data: {source: dataset://stdlib, format: text, shuffle: {seed: 17, window: 10000}, on_bad_row: fail, cpus: 1}
train: {steps: 2000, global_batch: 64, logical_shards: 8, seed: 1, optimizer: {name: adamw, lr: 3e-4}}
checkpoint: {storage: file://./runs, every: 100 steps, keep_last: 3, keep_best: {metric: val_loss, mode: min}}
retry: {max_failures: 3, max_preemptions: -1, hang_timeout: auto, start_timeout: 10m, on_nan: skip}
stop: {max_duration: 2h, grace: 30s}
log: {tensorboard: true}
"""


def lines_of(text: str, file: str = "run.yaml") -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, file)
    return str(caught.value).splitlines()


def test_the_published_example_is_valid() -> None:
    spec = parse_spec(PUBLISHED, "run.yaml")
    assert (spec.workers.min, spec.workers.max) == (2, 4)
    assert spec.train.optimizer.lr == 3e-4
    assert spec.resources.memory == 2 * 2**30
    assert (spec.checkpoint.every, spec.stop.max_duration, spec.retry.start_timeout) == (100, 7200.0, 600.0)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("2:4", "2:4"),
        ("12:30:45", "12:30:45"),
        ("2024-01-31", "2024-01-31"),
        ("1e-3", 1e-3),
        ("3e-4", 3e-4),
        (".5", 0.5),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", 1000),
        ("-7", -7),
        ("true", True),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("no # not this", "no"),
        ("|\n    5\n", "5\n"),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(written: str, value: object) -> None:
    spec = parse_spec(f"task: t\nmodel:\n  x: {written}\n", "run.yaml")
    assert spec.model == {"x": value}
    assert type(spec.model["x"]) is type(value)


def test_a_declared_yaml_1_1_does_not_bring_its_traps_back() -> None:
    spec = parse_spec("%YAML 1.1\n---\ntask: t\nworkers: 2:4\nmodel: {a: on, b: 1e-3}\n", "run.yaml")
    assert (spec.workers.min, spec.workers.max) == (2, 4)
    assert spec.model == {"a": "on", "b": 1e-3}


def test_every_value_of_a_spec_is_a_plain_python_value() -> None:
    model = parse_spec("task: t\nmodel: {a: [1, {b: 0x1F}], c: 1.50, d: 'q'}\n", "run.yaml").model
    assert model == {"a": [1, {"b": 31}], "c": 1.5, "d": "q"}
    assert [type(value) for value in model.values()] == [list, float, str]


def test_all_problems_are_listed_in_reading_order_with_line_and_column() -> None:
    text = """\
task: language_model
workers: {min: 1,
  mx: 3}
train:
  optimizer:
    name: adam
    betas: [0.9,
      2]
  steps: 3
  epochs: 4
secrets:
  - A
  - 'b c'
labels:
    team:   5
"""
    assert lines_of(text) == [
        "run.yaml:3:3 workers.mx: unknown field, did you mean 'max'?",
        "run.yaml:6:5 train.optimizer.name: unknown value 'adam', did you mean 'adamw'?",
        "run.yaml:8:7 train.optimizer.betas.1: expected less than 1, got 2.0",
        "run.yaml:10:3 train.epochs: expected steps or epochs, got both (3 and 4); remove one",
        "run.yaml:13:5 secrets.1: expected the name of an environment variable such as 'API_KEY', got 'b c'",
        "run.yaml:15:5 labels.team: expected text, got the number 5; put it in quotes",
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("task: t\nqueue: q\nworkers: 16\n", "run.yaml:3:1 workers.max: "),
        ("task: t\nworkers:\n  min: 1\n  max: 16\n", "run.yaml:4:3 workers.max: "),
        ("task: t\ncheckpoint:\n  keep_best:\n    mode: max\n", "run.yaml:3:3 checkpoint.keep_best.metric: "),
        ("# a comment\n\nworkers: 2\n", "run.yaml:3:1 expected one of task, entrypoint or command"),
        ("task: t\nmodel:\n  layers:\n    - {size: .nan}\n", "run.yaml:4:8 model.layers.0.size: "),
    ],
)
def test_a_problem_between_fields_points_to_the_key_or_its_section(text: str, place: str) -> None:
    (line,) = lines_of(text)
    assert line.startswith(place)


def test_every_key_that_occurs_twice_is_refused_at_its_second_place() -> None:
    text = "task: a\ntrain:\n  steps: 3\n  seed: 1\n  steps: 4\nmodel: {x: {y: 1, y: 1}}\ntask: b\n"
    assert lines_of(text) == [
        "run.yaml:5:3 train.steps: the key occurs twice, first on line 3; remove one",
        "run.yaml:6:19 model.x.y: the key occurs twice, first on line 6; remove one",
        "run.yaml:7:1 task: the key occurs twice, first on line 1; remove one",
    ]


def test_a_key_that_occurs_twice_does_not_hide_other_problems() -> None:
    assert len(lines_of("task: a\ntask: b\npriority: 500\n")) == 2


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("", "run.yaml:1:1 the spec is empty", "task, entrypoint or command"),
        ("# nothing\n", "run.yaml:1:1 the spec is empty", "task, entrypoint or command"),
        ("- a\n", "run.yaml:1:1 expected 'key: value' lines", "a single value"),
        ("task\n", "run.yaml:1:1 expected 'key: value' lines", "a single value"),
        ("task: t\n\tworkers: 1\n", "run.yaml:2:1 not valid YAML: ", "indent with spaces instead of tabs"),
        ("task: t: u\n", "run.yaml:1:8 not valid YAML: ", "put text that holds ': ' in quotes"),
        ("task: [1\n", "run.yaml:2:1 not valid YAML: ", "<stream end>'"),
        (
            "task: t\n---\ntask: u\n",
            "run.yaml:2:1 not valid YAML: ",
            "keep one document, without '---' in between",
        ),
        ("task: t\nmodel: *x\n", "run.yaml:2:8 not valid YAML: ", "found undefined alias 'x'"),
        ("task: t\nqueue: \x01\n", "run.yaml:2 not valid YAML: ", "a control character; remove it"),
        ("task: t\nmodel: !x {}\n", "run.yaml:2:8 model: the tag !x", "has no meaning here; remove it"),
        ("task: t\nmodel: {? [a] : 1}\n", "run.yaml:2:11 model: expected text as key", "a list or a mapping"),
    ],
)
def test_text_that_is_no_spec_is_refused_with_its_place(text: str, start: str, end: str) -> None:
    (line,) = lines_of(text)
    assert line.startswith(start)
    assert line.endswith(end)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "task: t\nmodel: &a {b: *a}\n",
        "task: t\nmodel: " + "[" * 60 + "]" * 60,
        "task: t\nmodel: " + "[" * 5000 + "]" * 5000,
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
            for old, new in zip("abcdef", "bcdefg", strict=True)
        ),
    ],
    ids=["circle", "deep", "deeper than the stack", "aliases that multiply"],
)
def test_text_that_blows_up_is_refused(text: str) -> None:
    assert "levels, got" in lines_of(text)[0]


def test_anchors_and_merged_mappings_work() -> None:
    text = "task: t\nmodel: {base: &b {x: 1, y: 2}, top: {<<: *b, y: 3}, twin: *b}\n"
    model = parse_spec(text, "run.yaml").model
    assert model["top"] == {"x": 1, "y": 3}
    assert model["twin"] == {"x": 1, "y": 2}


def test_json_is_read_with_places_tabs_and_escapes() -> None:
    text = '{\n\t"task": "t",\n\t"labels": {"a": "\\ud83d\\ude00\\/"},\n\t"workers": 1\n}\n'
    assert parse_spec(text, "run.json").labels == {"a": "\U0001f600/"}
    wrong = text.replace('"workers": 1', '"train": {"stps": 1}')
    assert lines_of(wrong, file="run.json") == [
        "run.json:4:12 train.stps: unknown field, did you mean 'steps'?"
    ]


def test_a_key_that_occurs_twice_in_json_is_refused() -> None:
    assert lines_of('{"task": "a", "task": "b"}', file="x") == [
        "x:1:15 task: the key occurs twice, first on line 1; remove one"
    ]


def test_canonical_json_can_be_read_as_a_file() -> None:
    spec = RunSpec.parse({"task": "t", "workers": "1:4", "train": {"epochs": 3}})
    assert parse_spec(spec.canonical_json(), "spec.json") == spec


def test_a_file_is_loaded_whatever_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbftask: t\r\nname: a\r\n")
    assert load_spec(path, ["priority=3"]).priority == 3


def test_a_file_that_is_not_there_is_named_with_a_way_to_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "run.yaml")
    assert str(caught.value) == f"there is no file {tmp_path / 'run.yaml'}"
    assert "tumbler init" in caught.value.hint


def _write_latin_1(path: Path) -> None:
    path.write_bytes(b"task: t\nname: \xe4\n")


def _write_too_much(path: Path) -> None:
    path.write_text("#" * (1 << 20) + "\n")


@pytest.mark.parametrize(
    ("write", "end"),
    [
        (_write_latin_1, "run.yaml:2 expected text in UTF-8, got other bytes"),
        (_write_too_much, "run.yaml expected at most 1048576 bytes, got more"),
        (Path.mkdir, "run.yaml cannot be read: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_spec_error(write: Any, end: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    write(path)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value).endswith(end)


def test_a_later_check_gets_its_place_from_the_source() -> None:
    source = parse_source("task: t\nmodel:\n  layers: 3\n", "run.yaml", ["model.width=4"])
    assert source.spec.model == {"layers": 3, "width": 4}
    error = SpecError(
        [Problem("model.layers", "odd"), Problem("model.width", "small"), Problem("model.x", "missing")]
    )
    assert str(source.placed(error)).splitlines() == [
        "run.yaml:3:3 model.layers: odd",
        "--set model.width=4 model.width: small",
        "run.yaml:2:1 model.x: missing",
    ]


def test_a_spec_error_of_a_file_carries_its_facts_as_values() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(json.dumps({"task": "t", "workers": {"mx": 2}}), "run.json")
    (problem,) = caught.value.problems
    assert problem == Problem("workers.mx", "unknown field, did you mean 'max'?", "run.json", 1, 27)
