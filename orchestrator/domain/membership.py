"""Who trains together: generations, and the roster that decides when the next one starts.

Pure state: the worker group tells the roster what happened, asks it for the next generation, and acts.
Nothing here waits, and nothing here knows Ray.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum


class WorkerPhase(StrEnum):
    REQUESTED = "requested"
    """A slot was asked for; the cluster has not given one."""
    STARTING = "starting"
    """It has a slot; its process starts, imports and builds the model."""
    WARM = "warm"
    """Ready for its first step; waits for a generation that names it."""
    ACTIVE = "active"
    """Named by the newest generation."""
    RETIRING = "retiring"
    """Left out of the newest generation on purpose; leaves at the next step boundary."""


@dataclass(frozen=True)
class Generation:
    """One membership of the worker group; the rank of a member is its place in `members`."""

    number: int
    members: tuple[str, ...]

    def rank(self, worker_id: str) -> int | None:
        return self.members.index(worker_id) if worker_id in self.members else None


@dataclass
class Roster:
    """The workers of one attempt and the generations they formed.

    `minimum` is the gang minimum: with fewer workers nobody trains. `target` is how many the scheduler grants
    now.
    """

    minimum: int
    target: int
    most: int | None = None
    """No generation has more members, not even while one of them waits to be replaced."""
    generation: Generation = Generation(0, ())
    _phases: dict[str, WorkerPhase] = field(default_factory=dict)
    _broken: bool = False
    _replaced: set[str] = field(default_factory=set)
    """Members that leave as soon as a newcomer can take their place."""
    _with_state: frozenset[str] = frozenset()
    """Members of the newest generation that is known to have met: newcomers have copied the state there."""

    def missing(self) -> int:
        """How many workers must still be asked for to reach the target."""
        return max(0, self.target - len(self._staying()))

    def surplus(self) -> list[str]:
        """Workers over the target, the newest and least useful first; then those to be replaced, where
        nobody has to come for them."""
        over = self._staying()[: max(0, len(self._staying()) - self.target)]
        ready = [worker for worker in self._in(WorkerPhase.ACTIVE) if worker not in (*over, *self._replaced)]
        return over + (self.leaving() if len(ready) >= self.target and self.keeps_state(ready) else [])

    def phase(self, worker_id: str) -> WorkerPhase | None:
        return self._phases.get(worker_id)

    def workers(self, *phases: WorkerPhase) -> list[str]:
        """Ids of the workers in the given phases (all of them by default), oldest first."""
        return self._in(*(phases or tuple(WorkerPhase)))

    def requested(self, worker_id: str) -> None:
        self._phases[worker_id] = WorkerPhase.REQUESTED

    def starting(self, worker_id: str) -> None:
        self._phases[worker_id] = WorkerPhase.STARTING

    def warm(self, worker_id: str) -> None:
        self._phases[worker_id] = WorkerPhase.WARM

    def formed(self, generation: int) -> None:
        """The members of `generation` met, and each has the state."""
        if generation == self.generation.number:
            self._with_state = frozenset(self.generation.members)

    def gone(self, worker_id: str) -> bool:
        """Forget a worker; True if the newest generation named it."""
        self._phases.pop(worker_id, None)
        return worker_id in self.generation.members

    def broken(self, generation: int) -> None:
        """The group of `generation` failed though all its members may live: it must be formed anew."""
        if generation == self.generation.number:
            self._broken = True

    def retire(self, worker_id: str) -> None:
        if self._phases.get(worker_id) is WorkerPhase.ACTIVE:
            self._phases[worker_id] = WorkerPhase.RETIRING

    def replace(self, worker_id: str) -> None:
        """Let a member go once another worker is warm: first the replacement, then the farewell."""
        if self._phases.get(worker_id) is WorkerPhase.ACTIVE:
            self._replaced.add(worker_id)

    def keep(self, worker_id: str) -> None:
        """It need not be replaced after all."""
        self._replaced.discard(worker_id)

    def leaving(self) -> list[str]:
        """Members that leave as soon as a newcomer can take their place."""
        return [worker for worker in self._in(WorkerPhase.ACTIVE) if worker in self._replaced]

    def keeps_state(self, staying: Collection[str]) -> bool:
        """Whether one of them has the state, or no member has: then it comes from elsewhere anyway."""
        holders = [worker for worker in self._in(WorkerPhase.ACTIVE) if worker in self._with_state]
        return not holders or any(worker in staying for worker in holders)

    def next_generation(self) -> Generation | None:
        """The generation to publish now, or None while the newest one holds or too few workers are ready."""
        warm = self._in(WorkerPhase.WARM)
        for worker in self._replaceable(len(warm)):
            self.retire(worker)
        active = self._in(WorkerPhase.ACTIVE)
        members = tuple(w for w in self.generation.members if w in active) + tuple(
            w for w in self._phases if w in warm
        )
        if members == self.generation.members and not self._broken:
            return None
        if len(members) < self.minimum:
            return None
        if not active and self._in(WorkerPhase.STARTING):
            return None  # nobody waits for a survivor: let those that have a slot come in together
        self.generation = Generation(self.generation.number + 1, members)
        self._broken = False
        for worker in members:
            self._phases[worker] = WorkerPhase.ACTIVE
        return self.generation

    def _replaceable(self, num_warm: int) -> list[str]:
        """Members that may leave now for so many newcomers. The last one that has the state stays until these
        have it too."""
        active, leaving = self._in(WorkerPhase.ACTIVE), self.leaving()[:num_warm]
        if self.keeps_state([worker for worker in active if worker not in leaving]):
            return leaving
        if self.most is not None and len(active) - len(leaving) + num_warm >= self.most:
            return leaving
        last = next(worker for worker in leaving if worker in self._with_state)
        return [worker for worker in leaving if worker != last]

    def _staying(self) -> list[str]:
        """All but those that leave, the newest and least useful first."""
        order = (WorkerPhase.REQUESTED, WorkerPhase.STARTING, WorkerPhase.WARM, WorkerPhase.ACTIVE)
        leaving = set(self.leaving())
        newest = [w for phase in order for w in reversed(self._in(phase)) if w not in leaving]
        return sorted(newest, key=self._with_state.__contains__)

    def _in(self, *phases: WorkerPhase) -> list[str]:
        return [worker for worker, phase in self._phases.items() if phase in phases]
