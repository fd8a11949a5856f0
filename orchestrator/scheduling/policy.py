"""By which rules the scheduler decides. The settings of the service fill it in."""

from dataclasses import dataclass
from enum import StrEnum


class Surplus(StrEnum):
    """Who gets the workers that are left when everybody has the fewest it needs."""

    GOODPUT = "goodput"
    """Those whose training gets faster by it, by their measured speed-up; weighed by queue and priority."""
    FAIR = "fair"
    """All queues the same share by their weights, and all runs of a queue the same."""
    FIFO = "fifo"
    """Who started first gets as many as it takes."""


@dataclass(frozen=True)
class Policy:
    surplus: Surplus = Surplus.GOODPUT
    ageing_s: float = 300.0
    """A run that waits goes up by one point of priority in so many seconds; 0 for never."""
    preemption: bool = True
    """A run of strictly higher priority may take all workers of others; else it waits for their end."""
    min_gain: float = 0.25
    """By `goodput` a worker moves to another run where it is worth so much more, as a part of its worth: the
    new one has to start first, and what was measured is not exact."""
    settle_s: float = 60.0
    """For so long after a run got other workers, it has to be worth twice as much elsewhere."""


DEFAULT_POLICY = Policy()
