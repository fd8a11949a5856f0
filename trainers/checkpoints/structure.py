"""A snapshot without its tensors as JSON: how they nest, and everything small beside them.

A mapping is `{"map": [[key, value], ...]}`, a list `{"list": [...]}`, a tuple `{"tuple": [...]}`, a tensor
`{"tensor": name, "dtype": ..., "shape": ...}`; numbers, text, true, false and null stand for themselves.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from orchestrator.domain.errors import CheckpointError

_PLAIN: Final = (bool, int, float, str, type(None))

Describe = Callable[[str, torch.Tensor], Mapping[str, Any]]
"""What stands for a tensor, given the path to it: `model/head.weight`."""


def as_json(snapshot: Mapping[str, Any], describe: Describe) -> str:
    """Raises CheckpointError for what no checkpoint can hold, such as a function."""
    return json.dumps({"map": _pairs(snapshot, "", describe)})


def from_json(text: str | bytes, tensor: Callable[[Mapping[str, Any]], torch.Tensor]) -> dict[str, Any]:
    """The inverse; `tensor` makes one of what stands for it. Raises ValueError, KeyError or TypeError where
    the text is none of `as_json`."""
    snapshot = _decoded(json.loads(text), tensor)
    if not isinstance(snapshot, dict):
        raise TypeError("expected a mapping")
    return snapshot


def _pairs(value: Mapping[Any, Any], path: str, describe: Describe) -> list[list[Any]]:
    pairs = []
    for key, child in value.items():
        if not isinstance(key, _PLAIN):
            raise CheckpointError(f"a checkpoint cannot hold {path or 'the state'}: a key of it is {key!r}")
        pairs.append([key, _encoded(child, f"{path}/{key}" if path else str(key), describe)])
    return pairs


def _encoded(value: Any, path: str, describe: Describe) -> Any:
    if isinstance(value, torch.Tensor):
        return dict(describe(path, value))
    if isinstance(value, Mapping):
        return {"map": _pairs(value, path, describe)}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encoded(child, f"{path}/{place}", describe) for place, child in enumerate(value)]}
    if hasattr(value, "item") and not isinstance(value, _PLAIN):
        value = value.item()  # a number of NumPy's
    if not isinstance(value, _PLAIN):
        raise CheckpointError(f"a checkpoint cannot hold {path}: it is a {type(value).__name__}")
    return value


def _decoded(value: Any, tensor: Callable[[Mapping[str, Any]], torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensor(value)
    if "map" in value:
        return {key: _decoded(child, tensor) for key, child in value["map"]}
    if "tuple" in value:
        return tuple(_decoded(child, tensor) for child in value["tuple"])
    return [_decoded(child, tensor) for child in value["list"]]
