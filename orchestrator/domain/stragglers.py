"""Which worker is much slower than its peers at computing, waiting not counted. Pure state."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final

_WINDOW: Final = 16
"""Steps that are looked at; a median of fewer would follow the noise."""
_SLOW: Final = 2.2
"""Named from this ratio on: between one that is 1.3 times slower, which is nobody's business, and 3 times."""
_RECOVERED: Final = 1.5
_NOTICEABLE_S: Final = 0.0005
"""Less than this per logical shard is the clock's noise."""


@dataclass(frozen=True)
class Straggler:
    worker_id: str
    ratio: float
    """Its time per logical shard by that of its peers, medians over the last steps."""
    shard_s: float


@dataclass
class Paces:
    """Seconds of computing per logical shard, by worker, over the last steps."""

    _seen: dict[str, deque[float]] = field(default_factory=dict)
    _named: set[str] = field(default_factory=set)

    def observe(self, paces: Mapping[str, float]) -> list[Straggler]:
        """Take one step's paces (0: not known); returns those that are found to straggle, each once."""
        self._seen = {worker: self._seen.get(worker, deque(maxlen=_WINDOW)) for worker in paces}
        self._named &= set(paces)
        for worker, pace in paces.items():
            if pace > 0:
                self._seen[worker].append(pace)
        typical = {worker: median(seen) for worker, seen in self._seen.items() if len(seen) == _WINDOW}
        if len(typical) < max(2, len(paces)):
            return []
        return [found for worker in typical if (found := self._judge(worker, typical)) is not None]

    def _judge(self, worker: str, typical: Mapping[str, float]) -> Straggler | None:
        mine, peers = typical[worker], median(pace for other, pace in typical.items() if other != worker)
        ratio = mine / peers
        if ratio < _RECOVERED:
            self._named.discard(worker)
        if ratio < _SLOW or mine - peers < _NOTICEABLE_S or worker in self._named:
            return None
        self._named.add(worker)
        return Straggler(worker, ratio, mine)
