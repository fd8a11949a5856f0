"""Committed checkpoints of a run, small and real, without training."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from api.checkpoints import checkpoints_of
from orchestrator.checkpoints.catalog import Committed
from orchestrator.checkpoints.manifest import (
    Manifest,
    PartFile,
    parts_folder,
    step_folder,
    xxh3_of,
)
from orchestrator.domain.run_directory import RunDirectory
from trainers.checkpoints.structure import as_json

COMMITTED = "2026-01-31T12:00:00.000Z"
_DTYPES = {torch.float32: "F32", torch.int64: "I64"}
_WEIGHT = MappingProxyType({"weight": torch.arange(4.0)})


def commit_checkpoint(
    run: RunDirectory,
    step: int,
    *,
    model: Mapping[str, Tensor] = _WEIGHT,
    metrics: Mapping[str, float] = MappingProxyType({"val_loss": 1.5}),
    attempt: int = 1,
    generation: int = 1,
    fingerprint: str | None = None,
) -> Committed:
    """A state of nothing but a model, in one part; tensors that share memory are ties."""
    tensors: dict[str, Tensor] = {}
    names: dict[int, str] = {}

    def describe(path: str, tensor: Tensor) -> Mapping[str, Any]:
        name = names.setdefault(tensor.data_ptr(), path)
        tensors.setdefault(name, tensor.detach().clone())
        return {"tensor": name, "dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape)}

    catalog = checkpoints_of(run)
    files = {
        "structure.json": as_json({"model": dict(model), "step": step}, describe).encode(),
        "part-000-001.safetensors": save(tensors),
    }
    parts = []
    for name, content in files.items():
        inside = f"{parts_folder(attempt, generation)}/{name}"
        catalog.place.write(f"{step_folder(step)}/{inside}", content)
        parts.append(PartFile(name=inside, size=len(content), xxh3=xxh3_of(content)))
    return catalog.commit(
        Manifest(
            step=step,
            attempt=attempt,
            generation=generation,
            fingerprint=fingerprint or run.spec().result_fingerprint(),
            committed=COMMITTED,
            metrics=dict(metrics),
            parts=tuple(parts),
            parameters_sha256="a" * 64,
        )
    )


def damage(run: RunDirectory, committed: Committed, *, torn: bool = False) -> None:
    """One bit of its part is another, or its last byte is missing."""
    (part,) = (run.checkpoints / committed.name).glob("a*/part-*.safetensors")
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content[:-1] if torn else content)


def damage_manifest(run: RunDirectory, committed: Committed) -> None:
    path = run.checkpoints / committed.manifest
    path.write_text(path.read_text().replace(COMMITTED, "2026-01-31T12:00:00.001Z"))
