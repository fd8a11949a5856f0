"""The numeric platform of a run: recorded by its first attempt, asked of all that follow.

`platform.json` in the run directory holds the numeric fingerprint of the workers that did the first steps.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.disk import replace_text
from orchestrator.domain.json_files import read_model
from orchestrator.domain.run_directory import RunDirectory

_FREE_BETWEEN_ATTEMPTS: Final = frozenset({"code"})
"""Tumbler's own code may be mended between two attempts; within one all workers have the same."""


class NumericPlatform(BaseModel):
    model_config = ConfigDict(frozen=True)

    attempt: int
    """The one that recorded it."""
    fingerprint: dict[str, str]


class PlatformGate:
    """Says in what a worker differs from those whose steps it would go on from."""

    def __init__(self, run: RunDirectory, attempt: int, *, num_steps_done: int, bitwise: bool) -> None:
        """Raises StorageError where the record is broken. Where nothing is done yet, or no bits are promised,
        an earlier record binds nobody."""
        self._path = run.path / "platform.json"
        self._attempt = attempt
        self._binding: Mapping[str, str] | None = None
        if num_steps_done and bitwise and self._path.is_file():
            self._binding = read_model(self._path, NumericPlatform).fingerprint
        self._recorded = self._binding is not None

    def differences(self, found: Mapping[str, str]) -> list[str]:
        """Such as `instructions was AVX512 and is AVX2`; empty if the worker may go on."""
        known = self._binding or {}
        return [
            f"{key} was {known[key]} and is {found.get(key, 'unknown')}"
            for key in sorted(known.keys() - _FREE_BETWEEN_ATTEMPTS)
            if found.get(key) != known[key]
        ]

    def admitted(self, found: Mapping[str, str]) -> None:
        """The first one of the first attempt decides for all. Raises StorageError."""
        if not self._recorded:
            platform = NumericPlatform(attempt=self._attempt, fingerprint=dict(found))
            replace_text(self._path, platform.model_dump_json(indent=2))
            self._recorded = True


def refusal(step: int, differences: list[str]) -> str:
    """One sentence: what differs, and what to do."""
    return (
        f"another numeric platform than that of the {step} steps done so far, so the bits would change: "
        f"{', '.join(differences)}; resume it on machines like the first ones, or start anew under another "
        "name (--set name=OTHER)"
    )
