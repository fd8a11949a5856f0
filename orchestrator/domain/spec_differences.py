"""In what two specs differ, told for people."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from orchestrator.domain.spec import RunSpec

NOT_COMPARED: Final = frozenset({"name", "labels", "queue", "priority"})
"""What the fingerprint leaves out."""


def spec_differences(old: RunSpec, new: RunSpec, *, but: Collection[str] = NOT_COMPARED) -> tuple[str, ...]:
    """Such as `train.steps was 100 and is 200`; the top fields in `but` may differ."""
    return content_differences(_compared(old, but), _compared(new, but))


def content_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """The same for parts of specs, as JSON has them."""
    return tuple(_differences(old, new))


def _compared(spec: RunSpec, but: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in json.loads(spec.canonical_json()).items() if key not in but}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key} was {before} and is {after}"
