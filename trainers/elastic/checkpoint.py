"""Committed checkpoints: whole, checksummed and findable.

A checkpoint is a folder `step-00000100` with the model (safetensors), the optimizer, and a manifest that
names every file with its size and SHA-256. It is written aside and renamed when all is on disk: what is not
whole is never found.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from orchestrator.domain.checkpoints import MANIFEST, checkpoint_name
from orchestrator.domain.errors import CheckpointError
from trainers.elastic.state import TrainState

FORMAT = 1
_MODEL, _OPTIMIZER = "model.safetensors", "optimizer.pt"


@dataclass(frozen=True)
class Written:
    path: Path
    parameters_sha256: str
    optimizer_sha256: str


def write_checkpoint(
    folder: Path, state: TrainState, *, fingerprint: str, attempt: int, generation: int
) -> Written:
    """Commit the state. Raises `CheckpointError` when it cannot be written; nothing half done stays
    behind."""
    path = folder / checkpoint_name(state.step)
    aside = folder / f".{path.name}.{attempt}-{generation}"
    hashes = {"parameters_sha256": state.parameters_sha256(), "optimizer_sha256": state.optimizer_sha256()}
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        snapshot = state.snapshot()
        tensors, ties = _untie(snapshot.pop("model"))
        save_file(tensors, aside / _MODEL)
        torch.save(snapshot, aside / _OPTIMIZER)
        manifest = {
            "format": FORMAT,
            "step": state.step,
            "attempt": attempt,
            "generation": generation,
            "fingerprint": fingerprint,
            "ties": ties,
            "metrics": state.metrics or {},
            "files": {name: _describe(aside / name) for name in (_MODEL, _OPTIMIZER)},
            **hashes,
        }
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1))
        for name in (_MODEL, _OPTIMIZER, MANIFEST, "."):
            _sync(aside / name)
        shutil.rmtree(path, ignore_errors=True)
        aside.rename(path)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CheckpointError(f"could not write checkpoint {path}: {error}") from error
    return Written(path, **hashes)


def read_checkpoint(path: Path, *, fingerprint: str | None = None) -> dict[str, Any]:
    """The snapshot in a checkpoint, for `TrainState.restore`.

    Raises `CheckpointError` with one sentence when it is damaged, incomplete, or of another spec than
    `fingerprint`.
    """
    manifest = read_manifest(path)
    if fingerprint is not None and manifest["fingerprint"] != fingerprint:
        raise CheckpointError(f"checkpoint {path} belongs to another spec")
    for name, described in manifest["files"].items():
        if not (path / name).is_file():
            raise CheckpointError(f"checkpoint {path} lacks {name}")
        if _describe(path / name) != described:
            raise CheckpointError(f"checkpoint {path} is damaged: {name} does not match its checksum")
    try:
        snapshot: dict[str, Any] = torch.load(path / _OPTIMIZER, weights_only=True, map_location="cpu")
        model = load_file(path / _MODEL)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    model |= {copy: model[original] for copy, original in manifest["ties"].items()}
    return snapshot | {"model": model}


def read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} has no readable {MANIFEST}: {error}") from error
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {manifest.get('format')}, this version reads {FORMAT}"
        )
    return manifest


def restore_newest(
    state: TrainState, candidates: Sequence[Path], *, fingerprint: str
) -> tuple[Path | None, list[tuple[str, str]]]:
    """Restore the first good one of `candidates`; also returns (path, reason) of those passed over."""
    passed_over: list[tuple[str, str]] = []
    for path in candidates:
        try:
            state.restore(read_checkpoint(path, fingerprint=fingerprint))
        except CheckpointError as error:
            passed_over.append((str(path), str(error)))
        else:
            return path, passed_over
    return None, passed_over


def _untie(model: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors under their first name, and further names that share their memory."""
    seen: dict[int, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    ties: dict[str, str] = {}
    for name, tensor in model.items():
        original = seen.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        if original == name:
            tensors[name] = tensor.detach().contiguous()
        else:
            ties[name] = original
    return tensors, ties


def _describe(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
