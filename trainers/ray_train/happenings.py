"""What can happen to a worker group. Everything arrives in one queue and is handled in turn, so nothing
races."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ray.actor import ActorHandle

from orchestrator.domain.status import EndReason
from orchestrator.domain.vigil import Pulse
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
    actor_id: str
    """By which Ray knows its actor."""
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
    number: int
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """A worker's process is gone without a word."""

    worker_id: str
    cause: str


@dataclass(frozen=True)
class Reported:
    number: int
    """Of all that this worker says, from 1."""
    report: Report

    @property
    def worker_id(self) -> str:
        return self.report.worker_id


@dataclass(frozen=True)
class CheckpointCommitted:
    step: int
    path: str
    """Or URI, of its folder."""
    parameters_sha256: str | None
    metrics: Mapping[str, float]
    trouble: str
    """What went wrong when older ones were dropped; empty where nothing did."""
    wish: int = 0
    """Number of the wish that it answers; 0 where it was due by itself."""
    remark: str = ""
    """What its user should know besides."""


@dataclass(frozen=True)
class CommitFailed:
    """The parts of a checkpoint are there, and its manifest could not be written; or it would have answered a
    wish, and a member could not write its parts."""

    step: int
    reason: str
    wish: int = 0


@dataclass(frozen=True)
class StillBroken:
    """A moment ago a group failed; if nobody's death has explained it since, it must be formed anew."""

    generation: int
    reason: str
    absent: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """A worker was asked for its pulse."""

    worker_id: str
    pulse: Pulse


@dataclass(frozen=True)
class Look:
    """It is time to look whether somebody hangs."""


@dataclass(frozen=True)
class TargetChanged:
    target: int
    minimum: int
    """The smallest group that trains, from now on."""


@dataclass(frozen=True)
class NodesDrain:
    """All nodes that will be gone, as Ray knows of them."""

    deadlines: Mapping[str, float | None]
    """Seconds since 1970; None where nobody knows."""


@dataclass(frozen=True)
class NodesOrdered:
    """Where the service wants no new workers, and which nodes it wants to be left, by when."""

    closed: tuple[str, ...]
    drained: Mapping[str, float | None]


@dataclass(frozen=True)
class WorkersOrdered:
    """All workers that users ever wished to leave politely, or to be killed."""

    drain: tuple[str, ...]
    kill: tuple[str, ...]


@dataclass(frozen=True)
class CheckpointWanted:
    """Somebody wishes for a checkpoint now."""

    wish: int


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


@dataclass(frozen=True)
class FeedPlaced:
    """The data feed has its CPUs; workers may be asked for."""


@dataclass(frozen=True)
class FeedStarted:
    pid: int


@dataclass(frozen=True)
class FeedLost:
    """Its process is gone without a word; it is started again."""

    cause: str
    num_segments: int
    """So far, which the next one does not make again."""


@dataclass(frozen=True)
class FeedFinished:
    """All rows are there, and the feed's CPUs are given back."""

    num_rows: int
    num_segments: int


@dataclass(frozen=True)
class FeedFailed:
    """The rows cannot be made."""

    reason: EndReason
    message: str
    traceback: str = ""


OfTheFeed: TypeAlias = FeedPlaced | FeedStarted | FeedLost | FeedFinished | FeedFailed
OfAWorker: TypeAlias = Placed | Started | Warm | Over | Lost
Said: TypeAlias = Reported | Over
OfFarewells: TypeAlias = NodesDrain | NodesOrdered | WorkersOrdered
Happening: TypeAlias = (
    OfAWorker
    | OfTheFeed
    | OfFarewells
    | Reported
    | CheckpointCommitted
    | CommitFailed
    | StillBroken
    | Answered
    | Look
    | TargetChanged
    | CheckpointWanted
    | StopRequested
    | StopOverdue
    | StartOverdue
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
