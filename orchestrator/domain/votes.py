"""Who is outvoted when replicas that should be equal are not."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Vote:
    """The checksums of all replicas at one step, counted."""

    agreed: bool
    outvoted: tuple[int, ...]
    """Places of the minority; empty where all agree, and where no value has more than half of the votes."""


def count_votes(checksums: Sequence[int]) -> Vote:
    (value, votes), *others = Counter(checksums).most_common()
    if not others:
        return Vote(True, ())
    if 2 * votes <= len(checksums):
        return Vote(False, ())
    return Vote(False, tuple(place for place, other in enumerate(checksums) if other != value))
