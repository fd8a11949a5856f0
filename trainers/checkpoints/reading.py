"""The state back from a committed checkpoint, at any number of workers.

Each file is checked before anything of it is used. Files are read side by side: checksums and copies leave
the interpreter's lock alone.
"""

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.manifest import Manifest, PartFile, step_folder, xxh3_of
from orchestrator.checkpoints.places import Place
from orchestrator.domain.errors import CheckpointError, StorageError
from trainers.checkpoints.image import DTYPES
from trainers.checkpoints.structure import from_json
from trainers.elastic.state import TrainState

_STRUCTURE: Final = "structure.json"
_MODEL: Final = "model/"
"""What the names of its tensors begin with; one that is tied to another of the state is the model's."""
_NOTHING: Final[Mapping[str, torch.Tensor]] = MappingProxyType({})
_BROKEN: Final = (ValueError, KeyError, TypeError, IndexError, RuntimeError)


def read_state(
    place: Place, manifest: Manifest, into: Mapping[str, torch.Tensor] = _NOTHING
) -> dict[str, Any]:
    """The snapshot, for `TrainState.restore`.

    Tensors that are in `into` by their name, contiguous ones on the CPU, are filled and not made anew, when
    all files have been found good.

    Raises CheckpointError in one sentence where a file is missing or damaged.
    """
    return _read(place, manifest, "", into)


def read_model(place: Place, manifest: Manifest) -> dict[str, torch.Tensor]:
    """The model's part of the snapshot, by the names of its `state_dict`; takes memory for nothing else.

    All files are checked nevertheless. Raises CheckpointError.
    """
    model: dict[str, torch.Tensor] = _read(place, manifest, _MODEL, _NOTHING)["model"]
    return model


def _read(place: Place, manifest: Manifest, wanted: str, into: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Tensors whose name does not begin with `wanted` have a shape and no numbers."""
    where = f"checkpoint {place.describe(step_folder(manifest.step))}"
    tensors: dict[str, torch.Tensor] = {}

    def made(described: Mapping[str, Any]) -> torch.Tensor:
        name, shape, dtype = described["tensor"], described["shape"], DTYPES[described["dtype"]]
        if not name.startswith(wanted):
            return torch.empty(shape, dtype=dtype, device="meta")
        known = tensors.get(name, into.get(name))
        if known is None or (list(known.shape), known.dtype) != (shape, dtype):
            known = torch.empty(shape, dtype=dtype)
        tensors[name] = known
        return known

    try:
        (structure,) = (file for file in manifest.parts if file.name.endswith(_STRUCTURE))
        with _opened(place, manifest, structure) as content:
            _check(place, manifest, structure, content)
            snapshot = from_json(bytes(content), made)
        parts = [file for file in manifest.parts if file is not structure]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool, ExitStack() as opened:
            contents = [opened.enter_context(_opened(place, manifest, file)) for file in parts]
            for _ in pool.map(partial(_check, place, manifest), parts, contents):
                pass
            filled = sum(pool.map(lambda content: _fill(content, tensors, wanted), contents))
    except (FileNotFoundError, StorageError) as error:
        raise CheckpointError(f"{where} lacks a file: {error}") from error
    except _BROKEN as error:
        raise CheckpointError(f"{where} cannot be read: {error}") from error
    if filled != sum(tensor.nbytes for tensor in tensors.values()):
        raise CheckpointError(f"{where} does not hold all of the state")
    return snapshot


def restore_newest(
    state: TrainState,
    catalog: Catalog,
    candidates: Sequence[Committed],
    *,
    fingerprint: str,
    content: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Committed | None, list[tuple[str, str]]]:
    """Restore the first good one of `candidates`; also returns (path, reason) of those passed over.

    `fingerprint` and `content` are what decides the result's bits, of the spec that is to be trained.
    """
    passed_over: list[tuple[str, str]] = []
    for candidate in candidates:
        where = catalog.place.describe(candidate.name)
        try:
            manifest = catalog.read(candidate)
            manifest.check_spec(fingerprint, content, f"checkpoint {where}")
            state.restore(read_state(catalog.place, manifest, _in_place(state)))
        except CheckpointError as error:
            passed_over.append((where, str(error)))
        else:
            return candidate, passed_over
    return None, passed_over


def _in_place(state: TrainState) -> dict[str, torch.Tensor]:
    return {
        f"{_MODEL}{name}": tensor
        for name, tensor in state.model.state_dict().items()
        if tensor.device.type == "cpu" and tensor.is_contiguous()
    }


def _opened(place: Place, manifest: Manifest, file: PartFile) -> AbstractContextManager[memoryview]:
    return place.open_read(f"{step_folder(manifest.step)}/{file.name}")


def _check(place: Place, manifest: Manifest, file: PartFile, content: memoryview) -> None:
    if len(content) != file.size or xxh3_of(content) != file.xxh3:
        where = place.describe(f"{step_folder(manifest.step)}/{file.name}")
        raise CheckpointError(f"checkpoint file {where} is damaged: it does not match its checksum")


def _fill(content: memoryview, tensors: Mapping[str, torch.Tensor], wanted: str) -> int:
    """Copies the wanted slices of one part into the tensors; returns how many bytes."""
    filled = 0
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(bytes(content[8 : 8 + length]))
    for name, entry in entries.items():
        if not name.startswith(wanted):
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        with content[begin:end] as numbers:
            np.copyto(_octets(tensors, name), np.frombuffer(numbers, np.uint8))
        filled += end - begin
    return filled


def _octets(tensors: Mapping[str, torch.Tensor], name: str) -> Any:
    """The memory of a tensor, or of some of its numbers, by the name that a part has for it."""
    whole = tensors.get(name)
    if whole is not None:
        return whole.view(-1).view(torch.uint8).numpy()
    of, _, numbers = name.removesuffix("]").rpartition("[")
    first, last = map(int, numbers.split(":"))
    return tensors[of].view(-1)[first:last].view(torch.uint8).numpy()
