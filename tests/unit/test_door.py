import os
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpoints.places import LocalPlace
from orchestrator.domain.errors import DataError, SpecError
from orchestrator.domain.spec import RunSpec
from tests.unit.checkpoint_places import committed_in
from trainers import door
from trainers.door import OUR_PACKAGES, at_the_door, with_absolute_paths


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test submits from a folder of its own; what the door adds to the import path is taken back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    return tmp_path


def spec(**content: Any) -> RunSpec:
    kind = {} if "task" in content else {"command": "true"}
    return RunSpec.parse({"name": "otter", **kind, **content})


def refused(content: RunSpec) -> list[str]:
    with pytest.raises(SpecError) as caught:
        at_the_door(content)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture(autouse=True)
def no_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed here."""
    monkeypatch.setattr("trainers.door.find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (
            {"secrets": ["WANDB_API_KEY"]},
            "secrets: a run without a service has no store of secrets; set them in the environment",
        ),
        *(
            (
                {"code": code},
                "code: a run without a service uses the environment it is started in; "
                "leave out pip, env, exclude",
            )
            for code in ({"pip": ["einops"]}, {"env": {"A": "1"}}, {"exclude": ["*.bin"]})
        ),
        (
            {"task": "language_model", "log": {"mlflow": {}}},
            "log.mlflow: the package mlflow is not installed here: `pip install mlflow-skinny`",
        ),
        ({"code": {"working_dir": "nowhere"}}, "code.working_dir: nowhere is not a folder"),
    ],
)
def test_what_this_version_cannot_do_is_refused_in_one_sentence(part: dict[str, Any], sentence: str) -> None:
    assert refused(spec(**part)) == [sentence]


def test_all_problems_are_named_at_once() -> None:
    sentences = refused(
        spec(
            task="language_model",
            secrets=["TOKEN"],
            log={"tensorboard": True, "wandb": {}},
            code={"pip": ["einops"], "working_dir": "nowhere"},
        )
    )
    assert [sentence.partition(":")[0] for sentence in sentences] == [
        "secrets",
        "log.wandb",
        "code",
        "code.working_dir",
    ]


@pytest.mark.parametrize("name", OUR_PACKAGES)
def test_a_users_package_that_would_hide_behind_ours_is_refused(own_folder: Path, name: str) -> None:
    (own_folder / name).mkdir()
    at_the_door(spec())  # a folder of data may be called anything
    (own_folder / name / "model.py").touch()
    (sentence,) = refused(spec())
    assert sentence.startswith("code.working_dir:")
    assert f"has a folder named '{name}', which is the name of a package of Tumbler" in sentence


def test_our_own_checkout_is_no_conflict_with_itself() -> None:
    at_the_door(spec(code={"working_dir": str(Path(door.__file__).parents[1])}))


def test_paths_count_from_where_the_run_is_submitted(own_folder: Path) -> None:
    (own_folder / "code").mkdir()
    found = at_the_door(
        spec(
            checkpoint={"storage": "file://./results"},
            code={"working_dir": "code"},
            data={"source": "texts/*.txt"},
        )
    ).spec
    assert found.checkpoint.storage == str(own_folder / "results")
    assert found.code.working_dir == str(own_folder / "code")
    assert found.data.source == str(own_folder / "texts" / "*.txt")


def test_absolute_paths_and_named_datasets_stay_as_they_are(own_folder: Path) -> None:
    content = spec(
        checkpoint={"storage": str(own_folder)},
        code={"working_dir": str(own_folder)},
        data={"source": "dataset://stdlib"},
    )
    assert with_absolute_paths(content) == content
    assert with_absolute_paths(with_absolute_paths(content)) == with_absolute_paths(content)


def test_the_home_folder_is_understood(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(own_folder))
    found = with_absolute_paths(
        spec(checkpoint={"storage": "~/runs"}, code={"working_dir": "~"}, data={"source": "~/texts"})
    )
    assert found.checkpoint.storage == str(own_folder / "runs")
    assert found.code.working_dir == str(own_folder)
    assert found.data.source == str(own_folder / "texts")


def test_a_run_starts_from_the_checkpoint_that_was_there_when_it_came(own_folder: Path) -> None:
    source = LocalPlace(own_folder / "source")
    committed_in(source, 100)
    content = my_task(own_folder, "door_task_five") | {"train": {"from_checkpoint": "./source"}}
    pinned = at_the_door(spec(**content)).spec
    assert pinned.train.from_checkpoint == f"{source.folder}@100"
    committed_in(source, 200)
    assert at_the_door(pinned).spec == pinned


def test_storage_of_checkpoints_that_cannot_be_used_is_named_with_all_else(own_folder: Path) -> None:
    (own_folder / "file").touch()
    content = my_task(own_folder, "door_task_six")
    content |= {
        "train": {"from_checkpoint": "badger"},
        "checkpoint": {"location": "file/deep"},
        "secrets": ["API_KEY"],
    }
    secrets, location, source = refused(spec(**content))
    assert secrets.startswith("secrets: ")
    assert location.startswith(f"checkpoint.location: cannot write {own_folder}/file/deep/")
    assert source.startswith(f"train.from_checkpoint: there is no run 'badger' in {own_folder}/runs; ")


MY_TASK = """
from pydantic import BaseModel
from trainers.task import Task

class Config(BaseModel, extra="forbid"):
    width: int = 1

class {name}(Task):
    Config = Config
    def build_dataset(self, data, storage): ...
    def build_model(self): ...
    def loss(self, model, batch): ...
"""


def my_task(folder: Path, module: str) -> dict[str, Any]:
    """A user's own task in a module of its own name, since modules stay imported."""
    (folder / f"{module}.py").write_text(MY_TASK.format(name="Mine"))
    return {"command": None, "task": f"{module}:Mine", "code": {"working_dir": str(folder)}}


def test_a_users_own_task_is_imported_from_the_working_directory_and_offered_to_workers(
    own_folder: Path,
) -> None:
    (own_folder / "code").mkdir()
    content = my_task(own_folder / "code", "door_task_one")
    at_the_door(spec(**content))
    at_the_door(spec(**content))
    assert sys.path[-1] == str(own_folder / "code")
    assert sys.path.count(str(own_folder / "code")) == 1
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(own_folder / "code")]


def test_the_users_own_import_path_is_kept(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    at_the_door(spec(**my_task(own_folder, "door_task_two")))
    assert os.environ["PYTHONPATH"].split(os.pathsep) == ["elsewhere", str(own_folder)]


def test_a_wrong_config_of_a_users_own_task_is_named_before_anything_starts(own_folder: Path) -> None:
    content = my_task(own_folder, "door_task_three") | {"model": {"widht": 2}}
    (sentence,) = refused(spec(**content))
    assert sentence.startswith("model.widht:")


def test_a_built_in_task_with_too_little_data_is_refused_with_the_fix(own_folder: Path) -> None:
    (own_folder / "tiny.txt").write_text("hardly a batch " * 10)
    content = {"command": None, "task": "language_model", "data": {"source": "tiny.txt"}}
    with pytest.raises(DataError, match="fewer than one global batch of 64") as caught:
        at_the_door(spec(**content))
    assert caught.value.hint == "give it more data, or lower train.global_batch"


def test_what_is_in_the_files_of_a_built_in_task_is_known_before_anything_starts(own_folder: Path) -> None:
    (own_folder / "text.txt").write_text("a line of text that is long enough\n" * 2000)
    content = {"command": None, "task": "language_model", "data": {"source": "text.txt"}}
    content |= {"checkpoint": {"storage": "results"}, "model": {"context": 16}, "train": {"global_batch": 8}}
    found = at_the_door(spec(**content)).scan
    assert found is not None
    assert found.num_rows == 70_000 // 16
    assert [file.name for file in found.files] == ["text.txt"]


def test_a_task_with_rows_of_its_own_has_no_feed(own_folder: Path) -> None:
    assert at_the_door(spec(**my_task(own_folder, "door_task_four"))).scan is None


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(own_folder: Path) -> None:
    (own_folder / "text.txt").write_text("a line of text that is long enough\n" * 2000)
    data = {"source": "text.txt", "tokenizer": "bpe", "vocabulary": 300}
    content = {"command": None, "task": "language_model", "data": data}
    (sentence,) = refused(spec(**content))
    assert sentence.startswith("model.vocabulary: data.vocabulary has 300 token ids, model.vocabulary 257")
