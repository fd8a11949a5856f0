import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import DataError, SpecError
from orchestrator.domain.spec_training import DataSpec
from trainers.task import Datasets
from trainers.task_registry import BUILTIN_TASKS, check_model_config, load_task
from trainers.tasks.language_model import LanguageModel
from trainers.tasks.language_model_config import LanguageModelConfig

USER_TASKS = """
from pydantic import BaseModel
from torch import nn
from trainers.task import ShardLoss, Task

class Sizes(BaseModel):
    width: int = 3

class Mine(Task[Sizes]):
    Config = Sizes
    def build_model(self): return nn.Linear(self.config.width, 1)
    def loss(self, model, batch): return ShardLoss(model(batch).sum(), len(batch))

class Unfinished(Task[Sizes]):
    Config = Sizes
    def build_model(self): return nn.Linear(1, 1)

class WithoutConfig(Task[Sizes]):
    def build_model(self): return nn.Linear(1, 1)
    def loss(self, model, batch): return ShardLoss(model(batch).sum(), len(batch))

def mine(config): pass
"""


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "tasks_of_a_user.py").write_text(USER_TASKS)
    (tmp_path / "broken_code_of_a_user.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tasks_of_a_user", raising=False)
    return "tasks_of_a_user"


def problems(name: str, model: dict[str, Any]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_task(name, model)
    return [str(problem) for problem in caught.value.problems]


def test_a_built_in_task_is_loaded_with_its_config() -> None:
    task = load_task("language_model", {"preset": "gpt-micro", "context": 64})
    assert isinstance(task, LanguageModel)
    assert (task.config.width, task.config.context) == (128, 64)


@pytest.mark.parametrize("name", sorted(BUILTIN_TASKS))
def test_the_config_that_is_checked_is_the_one_of_the_task(name: str) -> None:
    assert type(check_model_config(name, {})) is type(load_task(name, {}).config)


def test_a_config_is_checked_without_torch() -> None:
    code = (
        "import sys; from trainers.task_registry import check_model_config;"
        "print(check_model_config('language_model', {'preset': 'gpt-mini'}).layers);"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


def test_all_problems_of_a_config_come_at_once_with_their_place() -> None:
    assert problems("language_model", {"laers": 3, "width": 0, "dropout": 1.5}) == [
        "model.width: expected at least 1, got 0",
        "model.dropout: expected less than 1, got 1.5",
        "model.laers: unknown field, did you mean 'layers'?",
    ]
    assert problems("language_model", {"preset": "gpt-nan"}) == [
        "model.preset: unknown value 'gpt-nan', did you mean 'gpt-nano'?"
    ]
    assert problems("language_model", {"heads": 7}) == [
        "model.heads: expected a divisor of width, which is 96, got 7"
    ]
    assert problems("language_model", {"vocabulary": 256}) == [
        "model.vocabulary: expected at least 257, got 256"
    ]


def test_a_field_left_empty_takes_the_preset() -> None:
    assert check_model_config(
        "language_model", {"preset": None, "width": None}
    ) == LanguageModelConfig.model_validate({})


def test_an_unknown_task_is_refused_with_the_nearest_name() -> None:
    assert problems("langage_model", {}) == [
        "task: unknown task 'langage_model', did you mean 'language_model'?"
    ]
    (far,) = problems("xyz", {})
    assert (
        far == "task: unknown task 'xyz', expected one of: language_model, or your own as 'module:TaskClass'"
    )
    with pytest.raises(SpecError, match="did you mean 'language_model'"):
        check_model_config("langage_model", {})


def test_a_task_of_the_user_is_loaded(user_code: str) -> None:
    task = load_task(f"{user_code}:Mine", {"width": 5})
    assert task.build_model().in_features == 5


def test_the_code_of_a_user_is_not_imported_to_check_a_config(user_code: str) -> None:
    assert check_model_config(f"{user_code}:Mine", {"width": "wrong"}) is None
    assert user_code not in sys.modules


def test_the_config_of_a_user_is_checked(user_code: str) -> None:
    (problem,) = problems(f"{user_code}:Mine", {"width": "wide"})
    assert problem.startswith("model.width: ")


def test_a_field_that_the_config_of_a_user_would_pass_over_is_refused(user_code: str) -> None:
    said = problems(f"{user_code}:Mine", {"widht": 5})
    assert said == ["model.widht: unknown field, did you mean 'width'?"]


def test_a_module_that_is_not_there_is_told_where_it_was_looked_for(user_code: str) -> None:
    (problem,) = problems("no_such_module:Mine", {})
    assert problem.endswith("No module named 'no_such_module'; it is looked for in code.working_dir")


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        (
            "no_such_module:Mine",
            "cannot import the module 'no_such_module': ModuleNotFoundError: No module named",
        ),
        ("broken_code_of_a_user:Mine", "cannot import the module 'broken_code_of_a_user': ZeroDivisionError"),
        ("tasks_of_a_user:Mime", "the module 'tasks_of_a_user' has no 'Mime', did you mean 'Mine'?"),
        ("tasks_of_a_user:mine", "'tasks_of_a_user:mine' is not a subclass of trainers.task.Task"),
        ("tasks_of_a_user:Sizes", "'tasks_of_a_user:Sizes' is not a subclass of trainers.task.Task"),
        ("tasks_of_a_user:Unfinished", "'tasks_of_a_user:Unfinished' does not implement loss"),
        ("tasks_of_a_user:WithoutConfig", "'tasks_of_a_user:WithoutConfig' needs a class attribute Config"),
    ],
)
def test_what_is_no_task_is_refused_in_one_sentence(user_code: str, reference: str, sentence: str) -> None:
    (problem,) = problems(reference, {})
    assert problem.startswith(f"task: {sentence}")


def test_a_task_without_a_context_gets_rows_as_they_are(user_code: str, tmp_path: Path) -> None:
    task = load_task(f"{user_code}:Mine", {})
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n": 2}\n')
    data = DataSpec(source=str(tmp_path / "a.jsonl"), format="jsonl", validation_fraction=0.5)
    rows = task.build_dataset(data, tmp_path)
    assert rows.validation is not None
    assert (rows.train[0], rows.validation[0]) == ({"n": 1}, {"n": 2})
    with pytest.raises(NotImplementedError, match="Mine cannot generate text"):
        task.generate(task.build_model(), "x", max_tokens=1, seed=1)


def test_fewer_rows_than_one_global_batch_are_refused() -> None:
    rows = Datasets(train=list(range(12)))
    rows.check_rows(12)
    with pytest.raises(DataError, match="there are 12 training rows, fewer than one global batch of 13"):
        rows.check_rows(13)
