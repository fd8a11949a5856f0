"""What is free on the nodes, and what a run needs of it: resources placed node by node, first fit.

The record knows how many workers a run holds, not where they are. So what is held is placed here by the same
rule in the same order each time, which can differ from where Ray placed it; Ray has the last word.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from orchestrator.domain.runs import Run
from orchestrator.ports.cluster import ClusterView, Node

_ROUNDING: Final = 1e-6
"""Ray counts parts of a resource to four places."""
_GIB: Final = 2**30


@dataclass(frozen=True)
class Need:
    """What a run claims: one bundle per worker, and one for its data feed."""

    worker: Mapping[str, float]
    feed: Mapping[str, float]
    labels: Mapping[str, str]
    """A worker's node must carry them; the feed's need not."""

    def describe(self, workers: int) -> str:
        """Such as `2 workers of 1 CPU and 1 GPU each, and 1 CPU for their data`."""
        each = " and ".join(amount(kind, much) for kind, much in self.worker.items())
        text = f"1 worker of {each}" if workers == 1 else f"{workers} workers of {each} each"
        if self.labels:
            text += " on nodes with " + ", ".join(f"{name}={value}" for name, value in self.labels.items())
        return text + "".join(f", and {amount(kind, much)} for its data" for kind, much in self.feed.items())


def need_of(run: Run) -> Need:
    return _need(run.claim)


@lru_cache(maxsize=4096)
def _need(claim: str) -> Need:
    return Need(**json.loads(claim))


def amount(kind: str, much: float) -> str:
    """Such as `1 CPU`, `0.5 GPU` or `2 GiB of memory`."""
    return f"{much / _GIB:g} GiB of memory" if kind == "memory" else f"{much:g} {kind}"


@dataclass
class _Place:
    labels: Mapping[str, str]
    free: dict[str, float]

    def put(self, bundle: Mapping[str, float], labels: Mapping[str, str]) -> bool:
        carries = all(self.labels.get(name) == value for name, value in labels.items())
        if not carries or any(self.free.get(kind, 0.0) + _ROUNDING < much for kind, much in bundle.items()):
            return False
        for kind, much in bundle.items():
            self.free[kind] -= much
        return True


@dataclass
class Room:
    """What is free. Taking changes it."""

    places: list[_Place] = field(default_factory=list)

    @classmethod
    def of(cls, view: ClusterView) -> "Room":
        """Everything that the nodes which are alive have."""
        return cls([_Place(node.labels, dict(node.resources)) for node in view.nodes if node.alive])

    def take_gang(self, need: Need, workers: int) -> bool:
        """Feed and workers, all of them or nothing."""
        trial = self._copy()
        bundles = [(need.feed, {}), *[(need.worker, need.labels)] * workers]
        if not all(trial._put(bundle, labels) for bundle, labels in bundles):
            return False
        self.places = trial.places
        return True

    def take_more(self, need: Need, most: int) -> int:
        """As many workers as there is room for, at most `most`; how many."""
        taken = 0
        while taken < most and self._put(need.worker, need.labels):
            taken += 1
        return taken

    def hold(self, need: Need, workers: int) -> None:
        """What a living run has already. Where first fit finds no room for it, it counts against what is
        left."""
        for bundle, labels in ((need.feed, {}), *((need.worker, need.labels),) * workers):
            if not self._put(bundle, labels):
                self._eat(bundle)

    def free(self, kind: str) -> float:
        return sum(place.free.get(kind, 0.0) for place in self.places)

    def most(self, kind: str) -> float:
        """On one node."""
        return max((place.free.get(kind, 0.0) for place in self.places), default=0.0)

    def _put(self, bundle: Mapping[str, float], labels: Mapping[str, str]) -> bool:
        return any(place.put(bundle, labels) for place in self.places) if bundle else True

    def _eat(self, bundle: Mapping[str, float]) -> None:
        for kind, much in bundle.items():
            left = much
            for place in self.places:
                eaten = min(left, place.free.get(kind, 0.0))
                if eaten > 0:
                    place.free[kind] -= eaten
                    left -= eaten

    def _copy(self) -> "Room":
        return Room([_Place(place.labels, dict(place.free)) for place in self.places])


def totals(nodes: Iterable[Node], kind: str) -> float:
    return sum(node.resources.get(kind, 0.0) for node in nodes if node.alive)
