"""Who holds what: places on nodes, and what each queue has used of its quota. Taking counts in both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Run
from orchestrator.ports.cluster import ClusterView
from orchestrator.scheduling.room import ROUNDING, Need, Room, need_of, totals


class Lack(StrEnum):
    """What a run lacks that does not get its workers."""

    ROOM = "room"
    QUOTA = "quota"


@dataclass
class Tally:
    room: Room
    queues: Mapping[str, Queue]
    """Those with a quota or weight of their own."""
    totals: Mapping[str, float]
    """Kind -> how much the cluster has."""
    used: dict[str, dict[str, float]] = field(default_factory=dict)
    """Queue -> kind -> how much its runs hold; `workers` is a kind, too."""
    workers: dict[str, int] = field(default_factory=dict)
    """Run id -> how many it holds."""

    @classmethod
    def of(cls, view: ClusterView, queues: Mapping[str, Queue]) -> "Tally":
        kinds = {kind for node in view.nodes for kind in node.resources}
        return cls(Room.of(view), queues, {kind: totals(view.nodes, kind) for kind in kinds})

    def copy(self) -> "Tally":
        used = {queue: dict(kinds) for queue, kinds in self.used.items()}
        return Tally(self.room.copy(), self.queues, self.totals, used, dict(self.workers))

    def take(self, run: Run, workers: int) -> Lack | None:
        """All of a gang, with its feed; or nothing, and what it lacks."""
        need = need_of(run)
        if not self.in_quota(run.queue, need, workers):
            return Lack.QUOTA
        if not self.room.take_gang(run.id, need, workers):
            return Lack.ROOM
        self._count(run, workers, feed=True)
        return None

    def take_more(self, run: Run, most: int, *, kept: bool = False) -> int:
        """So many workers more, as far as quota and room go; how many. `kept`: they are there already."""
        need = need_of(run)
        most = min(most, self.headroom(run.queue, need))
        if kept:
            seats = tuple(run.progress.seats.values())[self.workers.get(run.id, 0) :]
            taken = self.room.keep_more(run.id, need, most, seats)
        else:
            taken = self.room.take_more(run.id, need, most)
        if taken:
            self._count(run, taken)
        return taken

    def give_back(self, run: Run, workers: int) -> None:
        """The workers that it took last."""
        self.room.give_back(run.id, workers)
        self._count(run, -workers)

    def hold(self, run: Run, workers: int) -> bool:
        """What a living run has in any case, quota or not; False where there is not so much."""
        self._count(run, workers, feed=True)
        return self.room.hold(run.id, need_of(run), workers, tuple(run.progress.seats.values()))

    def reserve(self, run: Run, workers: int) -> None:
        """Set aside what there is of a gang that does not fit; the quota is not touched."""
        self.room.reserve(run.id, need_of(run), workers)

    def release(self, run: Run) -> None:
        """Everything that it holds."""
        self.room.release(run.id)
        if run.id in self.workers:
            self._count(run, -self.workers[run.id], feed=True, sign=-1)
            del self.workers[run.id]

    def in_quota(self, queue: str, need: Need, workers: int) -> bool:
        used = self.used.get(queue, {})
        return all(
            used.get(kind, 0.0) + need.of(kind, workers) <= most + ROUNDING
            for kind, most in self.quota(queue).items()
        )

    def headroom(self, queue: str, need: Need) -> int:
        """How many workers more its quota allows."""
        used, room = self.used.get(queue, {}), float("inf")
        for kind, most in self.quota(queue).items():
            each = 1.0 if kind == "workers" else need.worker.get(kind, 0.0)
            if each:
                room = min(room, (most - used.get(kind, 0.0) + ROUNDING) // each)
        return max(0, int(min(room, 1e9)))

    def share(self, queue: str) -> float:
        """The greatest part of any kind that the queue holds of the cluster, over its weight."""
        used = self.used.get(queue, {})
        parts = (much / self.totals[kind] for kind, much in used.items() if self.totals.get(kind))
        return round(max(parts, default=0.0) / self.weight(queue), 9)

    def part(self, need: Need) -> float:
        """The greatest part of any kind of the cluster that one worker holds."""
        parts = (much / self.totals[kind] for kind, much in need.worker.items() if self.totals.get(kind))
        return max(parts, default=1.0)

    def weight(self, queue: str) -> float:
        return self.queues[queue].weight if queue in self.queues else 1.0

    def quota(self, queue: str) -> Mapping[str, float]:
        return self.queues[queue].quota if queue in self.queues else {}

    def _count(self, run: Run, workers: int, *, feed: bool = False, sign: int = 1) -> None:
        need, used = need_of(run), self.used.setdefault(run.queue, {})
        self.workers[run.id] = self.workers.get(run.id, 0) + workers
        used["workers"] = used.get("workers", 0.0) + workers
        for kind, much in need.worker.items():
            used[kind] = used.get(kind, 0.0) + workers * much
        if feed:
            for kind, much in need.feed.items():
                used[kind] = used.get(kind, 0.0) + sign * much
