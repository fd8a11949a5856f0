"""The state back from a committed checkpoint, at any number of workers.

Each file is checked before anything of it is used. Files are read side by side: checksums and copies leave
the interpreter's lock alone.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
_BROKEN: Final = (ValueError, KeyError, TypeError, IndexError, RuntimeError)


def read_state(place: Place, manifest: Manifest) -> dict[str, Any]:
    """The snapshot, for `TrainState.restore`. Raises CheckpointError in one sentence where a file is missing
    or damaged."""
    return _read(place, manifest, "")


def read_model(place: Place, manifest: Manifest) -> dict[str, torch.Tensor]:
    """The model's part of the snapshot, by the names of its `state_dict`; takes memory for nothing else.

    All files are checked nevertheless. Raises CheckpointError.
    """
    model: dict[str, torch.Tensor] = _read(place, manifest, _MODEL)["model"]
    return model


def _read(place: Place, manifest: Manifest, wanted: str) -> dict[str, Any]:
    """Tensors whose name does not begin with `wanted` have a shape and no numbers."""
    where = f"checkpoint {place.describe(step_folder(manifest.step))}"
    tensors: dict[str, torch.Tensor] = {}

    def made(described: Mapping[str, Any]) -> torch.Tensor:
        name, shape, dtype = described["tensor"], described["shape"], DTYPES[described["dtype"]]
        if not name.startswith(wanted):
            return torch.empty(shape, dtype=dtype, device="meta")
        if name not in tensors:
            tensors[name] = torch.empty(shape, dtype=dtype)
        return tensors[name]

    try:
        (structure,) = (file for file in manifest.parts if file.name.endswith(_STRUCTURE))
        with _checked(place, manifest, structure) as content:
            snapshot = from_json(bytes(content), made)
        parts = [file for file in manifest.parts if file is not structure]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            filled = sum(pool.map(lambda file: _fill(place, manifest, file, tensors, wanted), parts))
    except (FileNotFoundError, StorageError) as error:
        raise CheckpointError(f"{where} lacks a file: {error}") from error
    except _BROKEN as error:
        raise CheckpointError(f"{where} cannot be read: {error}") from error
    if filled != sum(tensor.nbytes for tensor in tensors.values()):
        raise CheckpointError(f"{where} does not hold all of the state")
    return snapshot


def restore_newest(
    state: TrainState, catalog: Catalog, candidates: Sequence[Committed], *, fingerprint: str
) -> tuple[Committed | None, list[tuple[str, str]]]:
    """Restore the first good one of `candidates`; also returns (path, reason) of those passed over."""
    passed_over: list[tuple[str, str]] = []
    for candidate in candidates:
        where = catalog.place.describe(candidate.name)
        try:
            manifest = catalog.read(candidate)
            if manifest.fingerprint != fingerprint:
                raise CheckpointError(f"checkpoint {where} belongs to another spec")
            state.restore(read_state(catalog.place, manifest))
        except CheckpointError as error:
            passed_over.append((where, str(error)))
        else:
            return candidate, passed_over
    return None, passed_over


@contextmanager
def _checked(place: Place, manifest: Manifest, file: PartFile) -> Iterator[memoryview]:
    """The content of a file that agrees with the manifest."""
    name = f"{step_folder(manifest.step)}/{file.name}"
    with place.open_read(name) as content:
        if len(content) != file.size or xxh3_of(content) != file.xxh3:
            where = place.describe(name)
            raise CheckpointError(f"checkpoint file {where} is damaged: it does not match its checksum")
        yield content


def _fill(
    place: Place, manifest: Manifest, file: PartFile, tensors: Mapping[str, torch.Tensor], wanted: str
) -> int:
    """Copies the wanted slices of one part into the tensors; returns how many bytes."""
    filled = 0
    with _checked(place, manifest, file) as content:
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
