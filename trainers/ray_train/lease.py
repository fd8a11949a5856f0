"""Who still wants the run: a controller that outlives its driver must not outlive everybody."""

import time
from collections.abc import Callable
from typing import Final

_DEAF_S: Final = 5.0
"""Who did not look for so long was frozen: it cannot know whether anybody called."""


class Lease:
    """Held from the driver, who renews it, and from the service, whose beat changes.

    It counts on a clock of its own from the last sign that it saw, and never compares wall clocks.
    """

    def __init__(self, grace_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_s = grace_s
        self._clock = clock
        self._heard_at = self._looked_at = clock()
        self._looked = False
        self._beat: int | None = None

    def renew(self) -> None:
        """The driver is there."""
        self._heard_at = self._clock()

    def lapsed(self, beat: int | None) -> bool:
        """Whether neither was heard of for the grace. `beat` is what the service's beat shows now, None for
        no beat; that it changed is what counts. To be asked several times a second."""
        now = self._clock()
        changed = self._looked and beat is not None and beat != self._beat
        if changed or now - self._looked_at > _DEAF_S:
            self._heard_at = now
        self._looked, self._looked_at, self._beat = True, now, beat
        return now - self._heard_at >= self._grace_s
