"""In what two specs differ, told for people."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from orchestrator.domain.spec import RunSpec

NOT_COMPARED: Final = frozenset({"name", "labels", "queue", "priority"})
"""What the fingerprint leaves out."""
NOT_COMPARED_OF_TASKS: Final = NOT_COMPARED | {
    "workers",
    "checkpoint.keep_last",
    "checkpoint.keep_every",
    "checkpoint.snapshot_every",
}
"""What may differ where a task is resumed: its result is the same."""


def spec_differences(old: RunSpec, new: RunSpec, *, but: Collection[str] = NOT_COMPARED) -> tuple[str, ...]:
    """Such as `train.steps was 100 and is 200`; the fields in `but`, such as `workers.max`, may differ."""
    before, after = (json.loads(spec.canonical_json()) for spec in (old, new))
    return tuple(_differences(before, after, but=but))


def content_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """The same for parts of specs, as JSON has them."""
    return tuple(_differences(old, new))


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "", but: Collection[str] = ()
) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        if f"{prefix}{key}" in but:
            continue
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.", but)
        elif before != after:
            yield f"{prefix}{key} was {before} and is {after}"
