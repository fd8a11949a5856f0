"""What can happen to a worker group. Everything arrives in one queue and is handled in turn, so nothing
races."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from ray.actor import ActorHandle

from orchestrator.domain.status import EndReason
from trainers.elastic.messages import Finished, Outcome, Report, WorkerProfile
from trainers.ray_train.internals import ActorMetadata
from trainers.ray_train.slots import Slot


@dataclass(frozen=True)
class Placed:
    """The cluster gave a worker its place; its process is being started there."""

    worker_id: str
    actor: ActorHandle[Any]
    slot: Slot


@dataclass(frozen=True)
class Started:
    """The process of a worker runs."""

    worker_id: str
    where: ActorMetadata


@dataclass(frozen=True)
class Warm:
    profile: WorkerProfile

    @property
    def worker_id(self) -> str:
        return self.profile.worker_id


@dataclass(frozen=True)
class Over:
    """A worker's training thread ended, and said how."""

    worker_id: str
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """A worker's process is gone without a word."""

    worker_id: str
    cause: str


@dataclass(frozen=True)
class Reported:
    report: Report


@dataclass(frozen=True)
class StillBroken:
    """A moment ago a group failed; if nobody's death has explained it since, it must be formed anew."""

    generation: int
    reason: str
    absent: tuple[str, ...]


@dataclass(frozen=True)
class TargetChanged:
    target: int
    minimum: int
    """The smallest group that trains, from now on."""


@dataclass(frozen=True)
class StopRequested:
    reason: EndReason
    message: str


@dataclass(frozen=True)
class StopOverdue:
    """The grace after a wish to stop is used up."""


@dataclass(frozen=True)
class StartOverdue:
    """Some time has passed since the start; is anybody training?"""

    waited_s: float


OfAWorker: TypeAlias = Placed | Started | Warm | Over | Lost
Happening: TypeAlias = (
    OfAWorker | Reported | StillBroken | TargetChanged | StopRequested | StopOverdue | StartOverdue
)


@dataclass(frozen=True)
class GoOn:
    """The group lives."""


@dataclass(frozen=True)
class End:
    """The attempt is over."""

    reason: EndReason
    message: str
    result: Finished | None = None
    traceback: str = ""


Verdict: TypeAlias = GoOn | End
