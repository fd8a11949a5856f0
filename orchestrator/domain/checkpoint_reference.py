"""Which checkpoint of whom a spec means: `brave-otter-7f3a`, `runs/otter@best`, `s3://bucket/otter@400`."""

import re
from dataclasses import dataclass
from typing import Final, Self

from orchestrator.domain.spec_parts import absolute_location, split_scheme

_STEP: Final = re.compile(r"(.+)@(best|[0-9]{1,18})", re.DOTALL)
_BEFORE_OPTIONS: Final = re.compile(r"([^/?]+://[^/?]+/[^?]+)@(best|[0-9]{1,18})(\?.+)", re.DOTALL)
"""The same in a URI whose options stand behind it."""


@dataclass(frozen=True)
class CheckpointReference:
    source: str
    """A run's name, or the path or URI of a run directory, a folder of checkpoints or one of them."""
    step: int | None = None
    best: bool = False
    """The best instead of the newest."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError with a sentence for the user."""
        found = _STEP.fullmatch(_BEFORE_OPTIONS.sub(r"\1\3@\2", text))
        source, which = (found[1], found[2]) if found else (text, "")
        name, at, rest = source.rpartition("@")
        if not split_scheme(source)[1]:
            raise ValueError(f"expected a run, a path or a URI, perhaps with @STEP or @best, got {text!r}")
        if at and name and "/" not in rest and split_scheme(source)[0] == "file":
            raise ValueError(f"expected @STEP such as @400, or @best, got '@{rest}'")
        return cls(source, int(which) if which.isdigit() else None, which == "best")

    @property
    def is_name(self) -> bool:
        """Of a run; a path has a `/` in it."""
        return "/" not in self.source

    def absolute(self) -> Self:
        """The same wherever it is read; a name stays one."""
        if self.is_name:
            return self
        return type(self)(absolute_location(self.source), self.step, self.best)

    def __str__(self) -> str:
        if self.best:
            return f"{self.source}@best"
        return self.source if self.step is None else f"{self.source}@{self.step}"
