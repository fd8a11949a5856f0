"""How the state of a run is cut: its tensors lie one behind the other in a row of bytes, the image, which is
cut into as many parts as there are logical shards.

The state alone decides the cuts, so that any number of workers can write it, and any other number read it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch

from trainers.checkpoints.structure import as_json

_CUTS: Final = 16
"""Bytes; each cut is at a multiple, which is between two numbers of any type."""
_PAGE: Final = 4096
_LARGE: Final = 1 << 20
"""Bytes of an image; its cuts are at pages, and so are the data in a part: whole pages are written at a
fraction of the cost."""
DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""As safetensors calls them."""
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class _Placed:
    """A tensor and its place in the image, in bytes."""

    name: str
    tensor: torch.Tensor
    start: int
    stop: int


class Slice(NamedTuple):
    """What one part holds of a tensor."""

    name: str
    """Of the whole tensor, or `name[first:last]` of its numbers from the first to before the last."""
    numbers: torch.Tensor
    """One-dimensional, a view of the tensor."""
    shape: tuple[int, ...]
    """Of the whole tensor, or the number of numbers."""
    at: int
    """Place in the image, in bytes."""


class StateImage:
    """The image of one snapshot; holds its tensors."""

    def __init__(self, snapshot: Mapping[str, Any], num_shards: int) -> None:
        """Raises CheckpointError for a snapshot that no checkpoint can hold."""
        self.num_shards = num_shards
        tensors: dict[str, torch.Tensor] = {}
        places: dict[tuple[Any, ...], str] = {}

        def describe(path: str, tensor: torch.Tensor) -> Mapping[str, Any]:
            # Tied tensors are one; empty ones share an address without being tied.
            key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            name = places.setdefault(key, path) if tensor.numel() else path
            if name == path:
                tensors[name] = tensor.detach().contiguous()
            return {"tensor": name, "dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape)}

        self.structure = as_json(snapshot, describe)
        # Wide numbers first: then each lies at a multiple of its own width.
        ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
        self._placed: list[_Placed] = []
        end = 0
        for name, tensor in ordered:
            size = tensor.numel() * tensor.element_size()
            self._placed.append(_Placed(name, tensor, end, end + size))
            end += size
        self.num_bytes = end
        self._cuts = _PAGE if end >= _LARGE else _CUTS

    def cut(self, shard: int) -> int:
        """Where the part of a logical shard begins, in bytes; that of the one after the last is the end."""
        if shard == self.num_shards:
            return self.num_bytes
        return self.num_bytes * shard // self.num_shards // self._cuts * self._cuts

    def slices(self, first: int, last: int) -> Iterator[Slice]:
        """What lies in the parts of logical shards `first` to before `last`, without gaps."""
        begin, end = self.cut(first), self.cut(last)
        for placed in self._placed:
            start, stop = max(begin, placed.start), min(end, placed.stop)
            if start >= stop:
                continue
            if (start, stop) == (placed.start, placed.stop):
                yield Slice(placed.name, placed.tensor.view(-1), tuple(placed.tensor.shape), start)
            else:
                width = placed.tensor.element_size()
                one, other = (start - placed.start) // width, (stop - placed.start) // width
                name = f"{placed.name}[{one}:{other}]"
                yield Slice(name, placed.tensor.view(-1)[one:other], (other - one,), start)


def header(slices: list[Slice], start: int) -> bytes:
    """The first bytes of a safetensors file whose data are the image from `start` on.

    Source: https://github.com/huggingface/safetensors#format.
    """
    entries = {
        piece.name: {
            "dtype": _NAMES[piece.numbers.dtype],
            "shape": list(piece.shape),
            "data_offsets": [piece.at - start, piece.at - start + piece.numbers.nbytes],
        }
        for piece in slices
    }
    text = json.dumps(entries).encode()
    text += b" " * (-(len(text) + 8) % _PAGE)
    return len(text).to_bytes(8, "little") + text
