"""Committed checkpoints: whole, checksummed and findable.

A checkpoint is a folder `step-00000100` with the model (safetensors), the optimizer, and a manifest that
names every file with its size and SHA-256. It is written aside and renamed when all is on disk: what is not
whole is never found.
"""

import hashlib
import json
import os
import pickle
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
        manifest["checksum"] = _checksum(manifest)
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1))
        for name in (_MODEL, _OPTIMIZER, MANIFEST, "."):
            _sync(aside / name)
        shutil.rmtree(path, ignore_errors=True)
        aside.rename(path)
        _sync(folder)
    except (OSError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        # torch.save tells a full disk as a RuntimeError; metrics that are no JSON are a TypeError.
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
    try:
        for name, described in manifest["files"].items():
            if _describe(path / name) != described:
                raise CheckpointError(f"checkpoint {path} is damaged: {name} does not match its checksum")
        snapshot: dict[str, Any] = torch.load(path / _OPTIMIZER, weights_only=True, map_location="cpu")
        model = load_file(path / _MODEL)
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path} lacks {Path(error.filename).name}") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    model |= {copy: model[original] for copy, original in manifest["ties"].items()}
    return snapshot | {"model": model}


def read_manifest(path: Path) -> dict[str, Any]:
    """Raises `CheckpointError` where it is missing, damaged, or of another format."""
    try:
        manifest: Any = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} has no readable {MANIFEST}: {error}") from error
    if not isinstance(manifest, dict):
        raise CheckpointError(f"checkpoint {path} is damaged: {MANIFEST} is no manifest")
    if manifest.get("format") != FORMAT:
        found = manifest.get("format")
        raise CheckpointError(f"checkpoint {path} has format {found}, this version reads {FORMAT}")
    if manifest.pop("checksum", None) != _checksum(manifest):
        raise CheckpointError(f"checkpoint {path} is damaged: {MANIFEST} does not match its checksum")
    return manifest


def _checksum(manifest: Mapping[str, Any]) -> str:
    """Of everything in a manifest but itself."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


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
    seen: dict[tuple[Any, ...], str] = {}
    tensors: dict[str, torch.Tensor] = {}
    ties: dict[str, str] = {}
    for name, tensor in model.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        original = seen.setdefault(place, name) if tensor.numel() else name
        if original != name:
            ties[name] = original
        elif tensor.data_ptr() in {other.data_ptr() for other in tensors.values()}:
            tensors[name] = tensor.detach().clone()  # another view of memory that is saved already
        else:
            tensors[name] = tensor.detach().contiguous()
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
