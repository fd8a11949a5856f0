"""The life of a run: its statuses, the one table of legal moves, and why an attempt ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class RunStatus(StrEnum):
    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Nothing leads out of it."""
        return not LEGAL_MOVES[self]


LEGAL_MOVES: Mapping[RunStatus, Mapping[RunStatus, str]] = MappingProxyType(
    {
        RunStatus.QUEUED: {
            RunStatus.STARTING: "the scheduler granted its workers",
            RunStatus.PAUSED: "a user paused it before it started",
            RunStatus.CANCELLED: "a user cancelled it before it started",
            RunStatus.FAILED: "its deadline passed, or its workers never fitted the cluster",
        },
        RunStatus.STARTING: {
            RunStatus.RUNNING: "the first generation formed",
            RunStatus.QUEUED: "it was preempted, or the attempt was lost, before the first generation formed",
            RunStatus.PAUSING: "a user paused it",
            RunStatus.CANCELLING: "a user cancelled it",
            RunStatus.FAILED: "it could not start, or its deadline passed",
        },
        RunStatus.RUNNING: {
            RunStatus.QUEUED: "it was preempted to zero, or the attempt was lost",
            RunStatus.PAUSING: "a user paused it",
            RunStatus.CANCELLING: "a user cancelled it",
            RunStatus.SUCCEEDED: "it did its last step",
            RunStatus.FAILED: "a retry budget is spent, or its deadline passed",
        },
        RunStatus.PAUSING: {
            RunStatus.PAUSED: "its workers left",
            RunStatus.CANCELLING: "a user cancelled it",
            RunStatus.SUCCEEDED: "it did its last step before the pause took hold",
            RunStatus.FAILED: "a retry budget is spent, or its deadline passed",
        },
        RunStatus.PAUSED: {
            RunStatus.QUEUED: "a user resumed it",
            RunStatus.CANCELLED: "a user cancelled it",
        },
        RunStatus.CANCELLING: {
            RunStatus.CANCELLED: "its workers left",
            RunStatus.SUCCEEDED: "it did its last step before the cancel took hold",
        },
        RunStatus.SUCCEEDED: {},
        RunStatus.FAILED: {},
        RunStatus.CANCELLED: {},
    }
)
"""From status -> to status -> cause."""


def check_move(old: RunStatus, new: RunStatus) -> str:
    """The cause of a legal move. Raises ValueError for any other; staying is no move."""
    try:
        return LEGAL_MOVES[old][new]
    except KeyError:
        legal = ", ".join(LEGAL_MOVES[old]) or "nothing"
        raise ValueError(f"a run cannot go from {old} to {new}, expected {legal}") from None


class IncidentKind(StrEnum):
    """Whose fault an incident is, hence which retry budget pays."""

    OWN_ERROR = "own-error"
    """User code raised, or the process died by itself."""
    INFRASTRUCTURE = "infrastructure"
    """A worker, node, network or disk was lost."""
    PREEMPTION = "preemption"
    """The workers were taken for a better claim, or reclaimed with notice."""


class EndReason(StrEnum):
    """Why an attempt ended; see ENDINGS for what follows."""

    FINISHED = "Finished"
    USER_CANCELLED = "UserCancelled"
    USER_PAUSED = "UserPaused"
    PREEMPTED = "Preempted"
    USER_ERROR = "UserError"
    WORKER_LOST = "WorkerLost"
    """No survivor was left to train on."""
    CONTROLLER_LOST = "ControllerLost"
    CLUSTER_LOST = "ClusterLost"
    ORPHANED = "Orphaned"
    """Neither driver nor service was there to own the controller."""
    STORAGE_FAILED = "StorageFailed"
    SPEC_REFUSED = "SpecRefused"
    """The attempt found what only it could see: a model, data or platform that the spec cannot run on."""
    NO_CAPACITY = "NoCapacity"
    """The cluster could not hold `workers.min` within `retry.start_timeout`."""
    NOT_FINITE = "NotFinite"
    """A loss or gradient was not finite, and `retry.on_nan` is `fail`."""
    NO_PROGRESS = "NoProgress"
    MAX_FAILURES_EXCEEDED = "MaxFailuresExceeded"
    MAX_PREEMPTIONS_EXCEEDED = "MaxPreemptionsExceeded"
    DEADLINE_EXCEEDED = "DeadlineExceeded"


@dataclass(frozen=True)
class Ending:
    """What follows the end of an attempt."""

    status: RunStatus
    """The next status; QUEUED means another attempt, as long as the budget pays."""
    budget: IncidentKind | None = None
    """Which budget pays; None for free."""


ENDINGS: Mapping[EndReason, Ending] = MappingProxyType(
    {
        EndReason.FINISHED: Ending(RunStatus.SUCCEEDED),
        EndReason.USER_CANCELLED: Ending(RunStatus.CANCELLED),
        EndReason.USER_PAUSED: Ending(RunStatus.PAUSED),
        EndReason.PREEMPTED: Ending(RunStatus.QUEUED, IncidentKind.PREEMPTION),
        EndReason.USER_ERROR: Ending(RunStatus.QUEUED, IncidentKind.OWN_ERROR),
        EndReason.WORKER_LOST: Ending(RunStatus.QUEUED, IncidentKind.INFRASTRUCTURE),
        EndReason.CONTROLLER_LOST: Ending(RunStatus.QUEUED, IncidentKind.INFRASTRUCTURE),
        EndReason.CLUSTER_LOST: Ending(RunStatus.QUEUED, IncidentKind.INFRASTRUCTURE),
        EndReason.ORPHANED: Ending(RunStatus.QUEUED, IncidentKind.INFRASTRUCTURE),
        EndReason.STORAGE_FAILED: Ending(RunStatus.FAILED),
        EndReason.SPEC_REFUSED: Ending(RunStatus.FAILED),
        EndReason.NO_CAPACITY: Ending(RunStatus.FAILED),
        EndReason.NOT_FINITE: Ending(RunStatus.FAILED),
        EndReason.NO_PROGRESS: Ending(RunStatus.FAILED),
        EndReason.MAX_FAILURES_EXCEEDED: Ending(RunStatus.FAILED),
        EndReason.MAX_PREEMPTIONS_EXCEEDED: Ending(RunStatus.FAILED),
        EndReason.DEADLINE_EXCEEDED: Ending(RunStatus.FAILED),
    }
)
