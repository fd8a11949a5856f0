"""A queue: what all its runs together may hold, and how much of what is left over it deserves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestrator.domain.errors import Problem, SpecError

QUOTA_KINDS: Final = ("workers", "CPU", "GPU", "memory")
"""What a quota can name: workers, and resources in Ray's words (devices, and bytes of memory)."""
_LONGEST_NAME: Final = 63


@dataclass(frozen=True)
class Queue:
    name: str
    quota: Mapping[str, float] = field(default_factory=dict)
    """Kind -> the most that its runs hold together, data feeds included; what is not named has no limit."""
    weight: float = 1.0
    """Beside a queue of weight 1, one of weight 2 gets twice as much of what is left over."""


def checked_queue(name: str, quota: Mapping[str, float], weight: float) -> Queue:
    """Raises SpecError for what a queue cannot have; all of it at once."""
    problems = []
    if not 0 < len(name) <= _LONGEST_NAME:
        problems.append(Problem("name", f"expected 1 to {_LONGEST_NAME} characters as the name of a queue"))
    for kind, most in quota.items():
        if kind not in QUOTA_KINDS:
            known = ", ".join(QUOTA_KINDS)
            problems.append(Problem(f"quota.{kind}", f"unknown kind, expected one of {known}"))
        elif not 0 <= most < float("inf"):
            problems.append(Problem(f"quota.{kind}", f"expected a number of at least 0, got {most:g}"))
    if not 0 < weight < float("inf"):
        problems.append(Problem("weight", f"expected a number above 0, got {weight:g}"))
    if problems:
        raise SpecError(problems)
    return Queue(name, dict(quota), weight)
