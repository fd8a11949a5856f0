"""What is free on the nodes, and what a run needs of it: resources placed node by node.

The record knows where the workers of a living run are; what it does not know yet is placed by first fit,
which can differ from where Ray places it. Ray has the last word.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from orchestrator.domain.runs import Run
from orchestrator.ports.cluster import ClusterView, Node

ROUNDING: Final = 1e-6
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

    def of(self, kind: str, workers: int) -> float:
        """How much of a kind so many workers and the feed hold; `workers` is a kind, too."""
        if kind == "workers":
            return float(workers)
        return workers * self.worker.get(kind, 0.0) + self.feed.get(kind, 0.0)


def need_of(run: Run) -> Need:
    return need_of_claim(run.claim)


@lru_cache(maxsize=4096)
def need_of_claim(claim: str) -> Need:
    """See `orchestrator.domain.runs.claim_of`."""
    return Need(**json.loads(claim))


def amount(kind: str, much: float) -> str:
    """Such as `1 CPU`, `0.5 GPU`, `3 workers` or `2 GiB of memory`."""
    if kind == "workers":
        return "1 worker" if much == 1 else f"{much:g} workers"
    return f"{much / _GIB:g} GiB of memory" if kind == "memory" else f"{much:g} {kind}"


@dataclass(slots=True)
class _Place:
    node: str
    labels: Mapping[str, str]
    open: bool
    draining: bool
    """Who is there moves away, and needs a place elsewhere."""
    free: dict[str, float]

    def takes(self, bundle: Mapping[str, float], labels: Mapping[str, str], most: int = 1) -> int:
        """How many of these bundles it has room for, at most `most`."""
        free = self.free
        for kind, much in bundle.items():
            left = free.get(kind, 0.0) + ROUNDING
            if left < most * much:
                most = int(left / much)
        if most > 0 and labels and any(self.labels.get(name) != value for name, value in labels.items()):
            return 0
        return max(0, most)

    def change(self, bundle: Mapping[str, float], count: int) -> None:
        for kind, much in bundle.items():
            self.free[kind] = self.free.get(kind, 0.0) + count * much


_Held = tuple[int, Mapping[str, float], int]
"""On which place, which bundle, and how many of it."""


@dataclass
class Room:
    """What is free, and who holds the rest. Taking and giving back change it."""

    places: list[_Place]
    _index: Mapping[str, int]
    """Node -> its place."""
    _held: dict[str, tuple[_Held, ...]] = field(default_factory=dict)
    """Run id -> what it holds."""
    _full: dict[int, tuple[int, Mapping[str, float]]] = field(default_factory=dict)
    """Bundle by identity -> no open place before this one takes it. What is given back brings it down."""

    @classmethod
    def of(cls, view: ClusterView, *, closed_too: bool = False) -> "Room":
        """Everything that the nodes which are alive have; `closed_too`: as if all of them took workers."""
        places = [
            _Place(node.id, node.labels, node.open or closed_too, node.draining, dict(node.resources))
            for node in view.nodes
            if node.alive
        ]
        return cls(places, {place.node: index for index, place in enumerate(places)})

    def __post_init__(self) -> None:
        self._own: set[int] = set()
        """Which places no copy has, too."""

    def copy(self) -> "Room":
        """Cheap: a place is copied when one of the two rooms changes it."""
        self._own = set()
        return Room(list(self.places), self._index, dict(self._held), dict(self._full))

    def take_gang(self, owner: str, need: Need, workers: int) -> bool:
        """Feed and workers, all of them or nothing."""
        mark = len(self._held.get(owner, ()))
        if self._put(owner, need.feed, _NOWHERE) and self.take_more(owner, need, workers) == workers:
            return True
        self._undo(owner, mark)
        return False

    def take_more(self, owner: str, need: Need, most: int) -> int:
        """As many workers as there is room for, at most `most`; how many."""
        return self._put(owner, need.worker, need.labels, most)

    def keep_more(self, owner: str, need: Need, most: int, seats: Sequence[str]) -> int:
        """As `take_more`, for workers that are there: on the nodes of `seats` first, closed or not."""
        taken = self._sit(owner, need, seats[:most])
        return taken + self.take_more(owner, need, most - taken)

    def has_place(self, need: Need) -> bool:
        """For one more worker."""
        start = self._full.get(id(need.worker), (0, need.worker))[0]
        return any(place.open and place.takes(need.worker, need.labels) for place in self.places[start:])

    def reserve(self, owner: str, need: Need, workers: int) -> None:
        """What there is of a gang that does not fit as a whole."""
        self._put(owner, need.feed, _NOWHERE)
        self.take_more(owner, need, workers)

    def hold(self, owner: str, need: Need, workers: int, seats: Sequence[str] = ()) -> bool:
        """What a living run has: workers on the nodes that `seats` names, in turn, and where they fit.

        Where they fit nowhere they count against what is left; False where there is not even that.
        """
        standing = workers - self._sit(owner, need, seats[:workers])
        whole = True
        for bundle, labels, count in ((need.feed, _NOWHERE, 1), (need.worker, need.labels, standing)):
            put = self._put(owner, bundle, labels, count)
            put += self._put(owner, bundle, labels, count - put, closed=True)
            for _ in range(count - put):
                whole = self._eat(owner, bundle) and whole
        return whole

    def give_back(self, owner: str, count: int) -> None:
        """So many of the bundles that it took last."""
        while count and self._held.get(owner):
            index, bundle, last = self._held[owner][-1]
            self._undo(owner, len(self._held[owner]) - 1)
            if last > count:
                self._give(owner, index, bundle, last - count)
            count -= min(last, count)

    def release(self, owner: str) -> None:
        """All that it holds is free again."""
        self._undo(owner, 0)
        self._held.pop(owner, None)

    def free(self, kind: str) -> float:
        """On nodes that take new workers."""
        return sum(place.free.get(kind, 0.0) for place in self.places if place.open)

    def most(self, kind: str) -> float:
        """On one node."""
        return max((place.free.get(kind, 0.0) for place in self.places if place.open), default=0.0)

    def _sit(self, owner: str, need: Need, seats: Sequence[str]) -> int:
        """How many of the workers are where they were."""
        seated = 0
        for node in seats:
            index = self._index.get(node)
            if index is None or self.places[index].draining:
                continue
            if self.places[index].takes(need.worker, _NOWHERE):
                self._give(owner, index, need.worker)
                seated += 1
        return seated

    def _put(
        self,
        owner: str,
        bundle: Mapping[str, float],
        labels: Mapping[str, str],
        most: int = 1,
        *,
        closed: bool = False,
    ) -> int:
        """On the first nodes that take them: of those that take new workers, or of the others; how many."""
        if not bundle or most <= 0:
            return max(0, most)
        key, put, index = id(bundle), 0, 0
        if not closed and key in self._full:
            index = self._full[key][0]
        while index < len(self.places):
            place = self.places[index]
            if place.open is not closed and (count := place.takes(bundle, labels, most - put)):
                self._give(owner, index, bundle, count)
                put += count
                if put == most:
                    break
            index += 1
        if not closed:
            self._full[key] = index, bundle
        return put

    def _give(self, owner: str, index: int, bundle: Mapping[str, float], count: int = 1) -> None:
        self._mine(index).change(bundle, -count)
        self._held[owner] = (*self._held.get(owner, ()), (index, bundle, count))

    def _undo(self, owner: str, mark: int) -> None:
        held = self._held.get(owner, ())
        if len(held) <= mark:
            return
        self._held[owner] = held[:mark]
        first = min(index for index, _, _ in held[mark:])
        self._full = {key: (min(start, first), bundle) for key, (start, bundle) in self._full.items()}
        for index, bundle, count in held[mark:]:
            self._mine(index).change(bundle, count)

    def _mine(self, index: int) -> _Place:
        """A place that no copy of this room has too."""
        if index not in self._own:
            self._own.add(index)
            place = self.places[index]
            self.places[index] = _Place(
                place.node, place.labels, place.open, place.draining, dict(place.free)
            )
        return self.places[index]

    def _eat(self, owner: str, bundle: Mapping[str, float]) -> bool:
        whole = True
        for kind, much in bundle.items():
            left = much
            for index, place in enumerate(self.places):
                eaten = min(left, place.free.get(kind, 0.0))
                if eaten > 0:
                    self._give(owner, index, {kind: eaten})
                    left -= eaten
            whole = whole and left <= ROUNDING
        return whole


_NOWHERE: Final[Mapping[str, str]] = {}
"""Any node will do."""


def totals(nodes: Iterable[Node], kind: str) -> float:
    return sum(node.resources.get(kind, 0.0) for node in nodes if node.alive)
