"""What happened to a run, one event each, as the event journal and every stream of events carry it."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    RUN_STARTED = "run-started"
    RUN_RESUMED = "run-resumed"
    RUN_ENDED = "run-ended"
    GENERATION_STARTED = "generation-started"
    WORKER_PLACED = "worker-placed"
    """The cluster gave it a place; its worker-seconds count from here."""
    WORKER_STARTED = "worker-started"
    WORKER_WARM = "worker-warm"
    WORKER_JOINED = "worker-joined"
    WORKER_LOST = "worker-lost"
    WORKER_HUNG = "worker-hung"
    WORKER_RETIRED = "worker-retired"
    WORKER_REFUSED = "worker-refused"
    WORKER_GONE = "worker-gone"
    """Its place is given back, whatever the reason."""
    REPLICA_CORRUPTED = "replica-corrupted"
    """A replica was outvoted by the others: its bits were not theirs."""
    REPLICAS_DIFFER = "replicas-differ"
    """No replica could be outvoted; all went back."""
    STRAGGLER_FOUND = "straggler-found"
    DRAIN_NOTICED = "drain-noticed"
    """A worker is to leave politely, for its node or by a user's wish."""
    DRAIN_OVERDUE = "drain-overdue"
    """No replacement came in time: the worker leaves all the same, or the whole group after a checkpoint."""
    WORKER_KILLED = "worker-killed"
    """A user wished for a fault."""
    WAITING_FOR_CAPACITY = "waiting-for-capacity"
    CHECKPOINT_COMMITTED = "checkpoint-committed"
    CHECKPOINT_SKIPPED = "checkpoint-skipped"
    CHECKPOINT_RESTORED = "checkpoint-restored"
    EVALUATED = "evaluated"
    STEP_SKIPPED = "step-skipped"
    """Loss or gradient was not finite: the optimizer step was left out."""
    NOT_FINITE = "not-finite"
    """Which worker and logical shard made a step not finite."""
    ROLLED_BACK = "rolled-back"
    """All members go back to a state that can be trusted."""
    STORAGE_HEALED = "storage-healed"
    """The run storage takes records again; what was held back is written."""
    TRACKER_FAILED = "tracker-failed"
    """TensorBoard files, MLflow or W&B take no metrics; it is tried again."""
    TRACKER_HEALED = "tracker-healed"
    BAD_ROW = "bad-row"
    FEED_STARTED = "feed-started"
    FEED_LOST = "feed-lost"
    FEED_FINISHED = "feed-finished"
    USER_ERROR = "user-error"
    STOP_REQUESTED = "stop-requested"
    # What the service does to a run; only its record holds these.
    RUN_SUBMITTED = "run-submitted"
    RUN_SCALED = "run-scaled"
    RUN_CHANGED = "run-changed"
    RUN_PREEMPTED = "run-preempted"
    """A better claim needs its places: it was asked to leave them."""
    CHECKPOINT_REQUESTED = "checkpoint-requested"
    WORKER_DRAIN_REQUESTED = "worker-drain-requested"
    WORKER_KILL_REQUESTED = "worker-kill-requested"
    STATUS_MOVED = "status-moved"
    ATTEMPT_STARTED = "attempt-started"
    ATTEMPT_ENDED = "attempt-ended"
    DRIVER_STARTED = "driver-started"
    DRIVER_ENDED = "driver-ended"


def event(kind: EventKind, message: str, *, now: datetime | None = None, **facts: object) -> dict[str, Any]:
    """An event as a JSON object: `{"time", "kind", "message", ...facts}`.

    The message is one sentence for people; programs read the kind and the facts (JSON values). `now` must
    know its zone and defaults to the clock.
    """
    return {"time": timestamp(now), "kind": str(kind), "message": message, **facts}


def utc_now() -> datetime:
    """The clock; whoever decides by time takes one as an argument, so that tests need not wait."""
    return datetime.now(UTC)


def timestamp(moment: datetime | None = None) -> str:
    """RFC 3339 in UTC with milliseconds, such as `2026-01-31T23:59:59.125Z`; of now by default."""
    utc = (moment or utc_now()).astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
