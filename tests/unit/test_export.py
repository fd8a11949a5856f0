"""A model that was taken away: what lies in the folder, and that it loads where Tumbler is not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from torch import nn

from api.checkpoints import checkpoints_of
from orchestrator.checkpoints.catalog import Committed
from orchestrator.domain.errors import CheckpointError, StorageError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from tests.unit.checkpoint_files import commit_checkpoint, damage
from tests.unit.feed_files import documents, filled, scanned
from trainers.checkpoints.export import export_model
from trainers.feed.run_feed import feed_of, pin
from trainers.feed.tokenizers import TOKENIZER_FILE, load_tokenizer
from trainers.task_registry import load_task

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"layers": 2, "heads": 2, "width": 16, "context": 8, "vocabulary": 280}
ALONE = """
import importlib, json, runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("api", "benchmarks", "cluster", "orchestrator", "tests", "trainers"):
            raise ModuleNotFoundError(f"{name} is not here")

sys.meta_path.insert(0, Absent())
example, folder, tokens, prompt = sys.argv[1:]
loaded = runpy.run_path(example)
model, config = loaded["load_exported"](folder)
logits = model(loaded["torch"].tensor([json.loads(tokens)]))
text = loaded["continuation"](folder, prompt, 4)
print(json.dumps({"logits": logits.tolist(), "text": text, "config": config}))
"""
"""Runs the example in a process that cannot import Tumbler."""


def a_run(storage: Path, **spec: Any) -> RunDirectory:
    content = {"name": "otter", "task": "language_model", "model": SMALL, **spec}
    return RunDirectory.create(storage, RunSpec.parse(content))


def fed(run: RunDirectory, **data: Any) -> None:
    """Its rows are in the store, with their tokenizer."""
    storage = run.path.parent
    source = documents(storage / "text", b"the text of one " * 40, b"the text of two " * 40)
    found = scanned(storage, source, SMALL["context"], **data)
    filled(found, storage).close()
    pin(run, found, storage)


def a_model(run: RunDirectory) -> nn.Module:
    torch.manual_seed(1)
    spec = run.spec()
    assert spec.task is not None
    return load_task(spec.task, spec.model).build_model().eval()


def exported(run: RunDirectory, committed: Committed, folder: Path) -> list[str]:
    folder.mkdir()
    catalog = checkpoints_of(run)
    return export_model(run, catalog.place, catalog.read(committed), folder)


def config_in(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_the_example_loads_an_export_where_tumbler_is_not(tokenizer: str, tmp_path: Path) -> None:
    run, folder = a_run(tmp_path), tmp_path / "out"
    fed(run, **({} if tokenizer == "bytes" else {"tokenizer": tokenizer, "vocabulary": 270}))
    model = a_model(run)
    assert exported(run, commit_checkpoint(run, 4, model=model.state_dict()), folder) == []
    tokens = [5, 1, 4, 256, 2]
    example = str(ROOT / "examples" / "load_exported.py")
    words = [sys.executable, "-c", ALONE, example, str(folder), json.dumps(tokens), "the text"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = json.loads(done.stdout)
    assert torch.equal(torch.tensor(found["logits"]), model(torch.tensor([tokens])))
    assert found["text"].startswith("the text")
    assert found["config"]["tokenizer"]["vocabulary"] == (257 if tokenizer == "bytes" else 270)


def test_an_export_says_what_it_is_the_model_of(tmp_path: Path) -> None:
    run, folder = a_run(tmp_path, model={"preset": "gpt-mini", "layers": 1}), tmp_path / "out"
    exported(run, commit_checkpoint(run, 4, metrics={"val_loss": 1.5, "odd": float("nan")}), folder)
    config = config_in(folder)
    assert (config["format"], config["run"], config["task"], config["step"]) == (
        1,
        "otter",
        "language_model",
        4,
    )
    assert config["model"] == {
        "preset": "gpt-mini",
        "layers": 1,
        "heads": 6,
        "width": 192,
        "context": 256,
        "vocabulary": 257,
        "dropout": 0.0,
    }
    assert config["metrics"] == {"val_loss": 1.5, "odd": "NaN"}
    assert config["parameters_sha256"] == "a" * 64
    assert config["tokenizer"] is None
    readme = (folder / "README.md").read_text()
    assert "val_loss 1.5" in readme
    assert "from model import Transformer" in readme


def test_the_tokenizer_of_the_run_goes_along(tmp_path: Path) -> None:
    run, folder = a_run(tmp_path), tmp_path / "out"
    fed(run, tokenizer="bpe", vocabulary=270)
    exported(run, commit_checkpoint(run, 4), folder)
    feed = feed_of(run)
    assert feed is not None
    given, taken = load_tokenizer("bpe", feed.folder), load_tokenizer("bpe", folder)
    assert taken.encode("the text").tolist() == given.encode("the text").tolist()
    described = config_in(folder)["tokenizer"]
    assert (described["file"], described["end_of_text"]) == (TOKENIZER_FILE, taken.end_of_text)


@pytest.mark.parametrize("gone", ["file", "store"])
def test_an_export_without_its_tokenizer_says_so(gone: str, tmp_path: Path) -> None:
    run, folder = a_run(tmp_path), tmp_path / "out"
    fed(run, tokenizer="bpe", vocabulary=270)
    feed = feed_of(run)
    assert feed is not None
    if gone == "file":
        (feed.folder / TOKENIZER_FILE).unlink()
    else:
        shutil.rmtree(feed.folder)
    (note,) = exported(run, commit_checkpoint(run, 4), folder)
    assert "the tokenizer is not in the export" in note
    assert config_in(folder)["tokenizer"] is None


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Embedding(3, 2)
        self.outward = nn.Linear(2, 3)
        self.outward.weight = self.inward.weight
        self.register_buffer("seen", torch.tensor(7))


def test_tied_tensors_are_kept_once_and_load_into_both(tmp_path: Path) -> None:
    run, folder = a_run(tmp_path, task="mine:Task", model={"width": 2}), tmp_path / "out"
    torch.manual_seed(1)
    model, other = Tied(), Tied()
    exported(run, commit_checkpoint(run, 4, model=model.state_dict()), folder)
    path = folder / "model.safetensors"
    assert set(load_file(path)) == {"inward.weight", "outward.bias", "seen"}
    assert config_in(folder)["ties"] == {"outward.weight": "inward.weight"}
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "outward.weight": "inward.weight"}
    assert load_model(other, path) == (set(), [])
    assert torch.equal(other.outward.weight, model.inward.weight)
    assert int(other.seen) == 7


def test_the_network_of_a_users_own_task_stays_theirs(tmp_path: Path) -> None:
    run, folder = a_run(tmp_path, task="mine:Task", model={"width": 2}), tmp_path / "out"
    exported(run, commit_checkpoint(run, 4), folder)
    assert not (folder / "model.py").exists()
    config = config_in(folder)
    assert (config["task"], config["model"], config["network"]) == ("mine:Task", {"width": 2}, None)
    assert "code of your own" in (folder / "README.md").read_text()


def test_what_is_damaged_or_of_another_spec_is_not_exported(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    damaged, foreign = commit_checkpoint(run, 4), commit_checkpoint(run, 8, fingerprint="f" * 64)
    damage(run, damaged)
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        exported(run, damaged, tmp_path / "one")
    with pytest.raises(CheckpointError, match="step 8 of run 'otter' belongs to another spec"):
        exported(run, foreign, tmp_path / "two")


def test_a_run_that_is_no_task_has_no_model_to_export(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, RunSpec.parse({"name": "otter", "command": "true"}))
    with pytest.raises(CheckpointError, match="trains code of its own, not a Tumbler task"):
        exported(run, commit_checkpoint(run, 4), tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    run, gone = a_run(tmp_path), tmp_path / "gone"
    catalog = checkpoints_of(run)
    with pytest.raises(StorageError, match=f"cannot write .*{gone}"):
        export_model(run, catalog.place, catalog.read(commit_checkpoint(run, 4)), gone)
