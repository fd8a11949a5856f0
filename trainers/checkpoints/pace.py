"""How often a snapshot is taken: rank 0 decides, and tells the others with the gradients of a step."""

import time
from collections.abc import Callable
from typing import Final, Literal

from orchestrator.domain.spec_fields import LEAST_BETWEEN_SNAPSHOTS

_LEAST_S: Final = 1.0
_LARGEST_SHARE: Final = 0.01
"""Of the time, spent on copying."""


class SnapshotPace:
    """Of one worker. `every` is in steps; `auto` follows the time that copies take."""

    def __init__(
        self, every: int | Literal["auto", "never"], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every = every
        self._clock = clock
        self._taken_step = 0
        self._taken_at = clock()
        self._first = True
        """The generation has none yet."""

    def begin(self, step: int) -> None:
        """A generation goes on from `step`. What left with members of the one before is gone."""
        self._taken_step = step
        self._first = True

    def due(self, step: int, copy_s: float) -> bool:
        """Whether the state after `step` should be copied; the newest copy took `copy_s`."""
        if self._every == "never" or step < self._taken_step + LEAST_BETWEEN_SNAPSHOTS:
            return False
        if self._every != "auto":
            return step % self._every == 0
        return self._first or self._clock() - self._taken_at >= max(_LEAST_S, copy_s / _LARGEST_SHARE)

    def taken(self, step: int) -> None:
        """A copy of the state after `step` begins."""
        self._taken_step, self._taken_at, self._first = step, self._clock(), False
