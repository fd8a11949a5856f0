import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.domain.spec_file import parse_spec


def lines_of(text: str, override: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "run.yaml", [override])
    return str(caught.value).splitlines()


def test_overrides_win_over_the_file_and_the_last_one_over_the_others() -> None:
    overrides = [
        "train.steps=50",
        "workers=1:4",
        "train.optimizer.lr=1e-3",
        "name=x",
        "train.steps=60",
        "labels={a: b}",
    ]
    text = "task: t\nname: from-file\ntrain: {steps: 7}\n"
    spec = parse_spec(text, "run.yaml", [*overrides, "train.steps=60"])
    assert (spec.train.steps, spec.workers.max, spec.train.optimizer.lr, spec.name) == (60, 4, 1e-3, "x")
    assert spec.labels == {"a": "b"}


def test_an_override_of_null_takes_the_default_and_opens_a_section_that_is_not_there() -> None:
    spec = parse_spec(
        "task: t\ntrain: {steps: 7}\ndata:\n", "run.yaml", ["train.steps=null", "data.shuffle.window=5"]
    )
    assert (spec.train.steps, spec.data.shuffle.window) == (1000, 5)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.stps=3", "--set train.stps=3 train.stps: unknown field, did you mean 'steps'?"),
        ("train.steps", "--set expected KEY=VALUE such as train.steps=50, got 'train.steps'"),
        ("train..steps=3", "--set expected KEY=VALUE such as train.steps=50, got 'train..steps=3'"),
        (
            "workers.max=3",
            "--set workers.max=3 workers.max: workers is the number 2 and has no fields,"
            " set workers as a whole",
        ),
        ("priority=high", "--set priority=high priority: expected a whole number, got the text 'high'"),
        ("workers=4:1", "--set workers=4:1 workers.min: expected at most workers.max (1), got 4"),
    ],
)
def test_a_wrong_override_is_named_instead_of_a_line(override: str, line: str) -> None:
    assert lines_of("task: t\nworkers: 2\n", override) == [line]


def test_an_override_that_is_no_yaml_is_named() -> None:
    (line,) = lines_of("task: t\n", "model.x=[1")
    assert line.startswith("--set model.x=[1 not valid YAML: ")
