"""A committed checkpoint as files that anybody can load: safetensors, a config, the tokenizer, the network.

| file | what |
|---|---|
| model.safetensors | Parameters and buffers; tensors that share memory once. |
| config.json | Task, model, step, metrics, hash, tokenizer, and the class of the network. |
| tokenizer.json | Where the run has one. |
| model.py | Source of the network, where the task is a built-in one; needs torch alone. |
| README.md | How to load it. |
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic_core import to_json
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from orchestrator.checkpoints.manifest import Manifest
from orchestrator.checkpoints.places import Place
from orchestrator.domain.disk import storage_errors, sync_path
from orchestrator.domain.errors import DataError, StorageError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from trainers.checkpoints.reading import read_model
from trainers.feed.run_feed import feed_of, pinned_scan
from trainers.feed.tokenizers import END_OF_TEXT, TOKENIZER_FILE, VOCABULARY, load_tokenizer
from trainers.task_registry import BUILTIN_TASKS, check_model_config, trained_task

FORMAT: Final = 1
MODEL_FILE: Final = "model.safetensors"
CONFIG_FILE: Final = "config.json"
NETWORK_FILE: Final = "model.py"
README_FILE: Final = "README.md"
_BYTES: Final = (
    "an id below 256 is that byte of UTF-8 text, and end_of_text stands before the first and after the last"
)


def export_model(run: RunDirectory, place: Place, manifest: Manifest, folder: Path) -> list[str]:
    """Write the model of a checkpoint of `run` into `folder`, which is there and empty.

    All of it is on the disk when this returns. Returns sentences about what could not be taken along.

    Raises CheckpointError where the checkpoint is damaged, of another spec, or not of a task; StorageError
    where the folder cannot be written.
    """
    spec, task = run.spec(), trained_task(run)
    where = f"the checkpoint of step {manifest.step} of run '{run.name}'"
    manifest.check_spec(spec.result_fingerprint(), spec.result_content(), where)
    tensors, ties = _untie(read_model(place, manifest))
    tokenizer, content, notes = _tokenizer(run)
    network = _network(task)
    config = {
        "format": FORMAT,
        "run": run.name,
        "task": task,
        "model": _model(spec),
        "network": network and {"file": NETWORK_FILE, "class": network[1]},
        "tokenizer": tokenizer,
        "step": manifest.step,
        "metrics": manifest.metrics,
        "parameters_sha256": manifest.parameters_sha256,
        "fingerprint": manifest.fingerprint,
        "committed": manifest.committed,
        "ties": ties,
    }
    files = {
        CONFIG_FILE: to_json(config, indent=2, inf_nan_mode="strings") + b"\n",
        README_FILE: _readme(config).encode(),
    }
    if content is not None:
        files[TOKENIZER_FILE] = content
    if network is not None:
        files[NETWORK_FILE] = network[0]
    _write(folder, tensors, ties, files)
    return notes


def _untie(model: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, and name -> name of those that are the same one."""
    kept: dict[str, Tensor] = {}
    ties: dict[str, str] = {}
    names: dict[int, str] = {}
    for name, tensor in model.items():
        first = names.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        if first == name:
            kept[name] = tensor
        else:
            ties[name] = first
    return kept, ties


def _model(spec: RunSpec) -> Mapping[str, Any]:
    """The model section with every default, that of a user's own task as it was given."""
    assert spec.task is not None
    config = check_model_config(spec.task, spec.model)
    return spec.model if config is None else config.model_dump(mode="json")


def _network(task: str) -> tuple[bytes, str] | None:
    """Source and class of the network of a built-in task."""
    if task not in BUILTIN_TASKS:
        return None
    module, _, name = BUILTIN_TASKS[task].network.partition(":")
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).read_bytes(), name


def _tokenizer(run: RunDirectory) -> tuple[dict[str, Any] | None, bytes | None, list[str]]:
    """How config.json describes it, its tokenizer.json, and what is to be said."""
    feed = feed_of(run)
    recipe = None if feed is None else pinned_scan(run.path).recipe
    if feed is None or recipe is None or not recipe.is_packed:
        return None, None, []
    if recipe.tokenizer == "bytes":
        described = {"kind": "bytes", "vocabulary": VOCABULARY, "end_of_text": END_OF_TEXT}
        return {**described, "description": _BYTES}, None, []
    try:
        tokenizer = load_tokenizer("bpe", feed.folder)  # a given one lies there too
        content = (feed.folder / TOKENIZER_FILE).read_bytes()
    except (DataError, OSError) as error:
        return None, None, [f"the tokenizer is not in the export: {error}"]
    described = {"kind": "json", "vocabulary": tokenizer.vocabulary, "end_of_text": tokenizer.end_of_text}
    return {**described, "file": TOKENIZER_FILE}, content, []


def _readme(config: Mapping[str, Any]) -> str:
    metrics = ", ".join(f"{name} {value:.6g}" for name, value in config["metrics"].items()) or "not evaluated"
    head = (
        f"# {config['run']}, step {config['step']}\n\n"
        f"A model of the task `{config['task']}`, trained with Tumbler: {metrics}.\n"
        f"SHA-256 of its parameters: {config['parameters_sha256']}.\n\n"
    )
    if config["network"] is None:
        return (
            f"{head}The network is code of your own: build it as `build_model` of the task does, then\n"
            f'`safetensors.torch.load_model(model, "{MODEL_FILE}")`. `{CONFIG_FILE}` has its settings.\n'
        )
    name = config["network"]["class"]
    return (
        f"{head}`{NETWORK_FILE}` is the network and needs nothing but torch. In this folder:\n\n"
        "```python\n"
        "import json\n"
        "from types import SimpleNamespace\n\n"
        "from safetensors.torch import load_model\n\n"
        f"from model import {name}\n\n"
        f'config = json.load(open("{CONFIG_FILE}"))\n'
        f'model = {name}(SimpleNamespace(**config["model"]))\n'
        f'load_model(model, "{MODEL_FILE}")\n'
        "model.eval()\n"
        "```\n"
    )


def _write(
    folder: Path, tensors: dict[str, Tensor], ties: Mapping[str, str], files: Mapping[str, bytes]
) -> None:
    path = folder / MODEL_FILE
    with storage_errors("write", folder):
        try:
            # The names of ties are where `safetensors.torch.load_model` and others look for them.
            save_file(tensors, path, metadata={"format": "pt", **ties})
            path.chmod(0o644)  # as the other files: it is made to be given away
        except SafetensorError as error:
            raise StorageError(
                f"cannot write {path}: {error}", hint="see that there is room for it"
            ) from error
        for name, content in files.items():
            (folder / name).write_bytes(content)
        for written in (path, *(folder / name for name in files), folder):
            sync_path(written)
