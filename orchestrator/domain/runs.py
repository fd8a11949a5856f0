"""What the service knows of a run: one row of it, and the rows of what became of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, IncidentKind, RunStatus

ACTIVE = frozenset({RunStatus.STARTING, RunStatus.RUNNING, RunStatus.PAUSING, RunStatus.CANCELLING})
"""The statuses in which an attempt holds workers, or may."""


@dataclass(frozen=True)
class Progress:
    """How far a run came, as its run directory tells it; all of the newest attempt."""

    step: int = 0
    total_steps: int | None = None
    workers: int = 0
    """In the newest generation; 0 while nobody trains."""
    generation: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str | None = None
    """Path of the newest committed checkpoint."""
    parameters_sha256: str | None = None
    step_s: Mapping[int, float] = field(default_factory=dict)
    """World size -> seconds of a step with so many workers, where that was measured; of all attempts."""
    seats: Mapping[str, str] = field(default_factory=dict)
    """Worker id -> id of its node, of the workers that live, the oldest first."""


@dataclass(frozen=True)
class Patience:
    """What incidents between attempts have cost a run; see FailureBudget."""

    counts: Mapping[IncidentKind, int] = field(default_factory=dict)
    losses_without_progress: int = 0
    newest_step: int = 0


@dataclass(frozen=True)
class WorkerWishes:
    """Workers of one attempt that users want gone, by ids that are never used again in it."""

    attempt: int = 0
    drain: tuple[str, ...] = ()
    """Politely, as soon as a replacement is there."""
    kill: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One run. Immutable: a change is a new value. All times are RFC 3339 in UTC with milliseconds."""

    id: str
    """Made up by the service, never used again, sorts by age; see `new_run_id`."""
    name: str
    spec_json: str
    """The canonical JSON of the spec as submitted, paths absolute."""
    labels: Mapping[str, str]
    queue: str
    priority: int
    workers_min: int
    """As scaled last; so is `workers_max`."""
    workers_max: int
    claim: str
    """What a worker and the data feed claim of the cluster; see `claim_of`."""
    storage: str
    """The folder in which the run directory `name` lies; absolute."""
    created: str
    queued: str
    """When a user last put it in the queue; a lost attempt keeps its place."""
    updated: str
    status: RunStatus = RunStatus.QUEUED
    reason: str | None = None
    """CamelCase: an EndReason, or why it stands where it stands."""
    message: str = ""
    phase: str = ""
    started: str | None = None
    """When its first generation formed."""
    ended: str | None = None
    waits_since: str | None = None
    """When it began to wait for workers again, while it is QUEUED after an attempt; else since `queued`."""
    not_before: str | None = None
    """Back-off: no attempt starts earlier."""
    attempt: int = 0
    """Number of the newest attempt; 0 before the first."""
    driver: int = 0
    """Number of the newest driver of that attempt; 0 before the first."""
    target: int = 0
    """How many workers the scheduler grants it now; 0 while it holds none."""
    stop: EndReason | None = None
    """Why the living attempt was asked to stop; None while nobody wishes it."""
    stop_since: str | None = None
    checkpoint_wish: int = 0
    """Number of the wish for a checkpoint now, that of its event; 0 where none is open."""
    worker_wishes: WorkerWishes = WorkerWishes()
    skipped_checkpoints: int = 0
    """Checkpoints that could not be written, or were damaged when they were to be restored."""
    package: str | None = None
    """SHA-256 of the code archive that was uploaded for it; None where no code of the user's is shipped."""
    progress: Progress = Progress()
    patience: Patience = Patience()
    outbox_seq: int = 0
    """Newest record of the run directory's event journal that is in ours."""
    event_seq: int = 0
    """Newest event of the run in our record."""
    version: int = 1
    """Grows with each change of status or of a setting, not with progress: the ETag."""

    @property
    def spec(self) -> RunSpec:
        """Parsed anew each time (60 microseconds)."""
        return RunSpec.model_validate_json(self.spec_json)

    @property
    def gang_claim(self) -> str:
        """The same for all runs that ask the same of the cluster in order to start."""
        return f"{self.workers_min} {self.claim}"

    @property
    def active(self) -> bool:
        return self.status in ACTIVE

    def with_(self, **changes: Any) -> "Run":
        return replace(self, **changes)


@dataclass(frozen=True)
class Attempt:
    """One life of a run's elastic controller."""

    run_id: str
    number: int
    started: str
    ended: str | None = None
    reason: EndReason | None = None
    message: str = ""
    first_step: int = 0
    """The step it went on from."""
    last_step: int = 0


@dataclass(frozen=True)
class Driver:
    """One Ray Job that held, or adopted, the controller of an attempt."""

    run_id: str
    attempt: int
    number: int
    submission_id: str
    started: str
    ended: str | None = None
    message: str = ""


@dataclass(frozen=True)
class GenerationRow:
    """One membership of the worker group, as it was formed."""

    run_id: str
    attempt: int
    number: int
    formed: str
    step: int
    """The step it went on from."""
    workers: tuple[str, ...] = ()
    """In rank order."""
    steps_repeated: int = 0
    form_s: float = 0.0


@dataclass(frozen=True)
class RunEvent:
    """One event of a run; `seq` counts from 1 without gaps within the run."""

    run_id: str
    seq: int
    time: str
    kind: str
    message: str
    attempt: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What one decision writes, all of it or nothing."""

    run: Run
    events: tuple[Mapping[str, Any], ...] = ()
    """As `domain.events.event` makes them; the record numbers them and fills in `run.event_seq`."""
    attempts: tuple[Attempt, ...] = ()
    """New ones, or new values of known ones; so are the drivers and generations."""
    drivers: tuple[Driver, ...] = ()
    generations: tuple[GenerationRow, ...] = ()


def claim_of(spec: RunSpec) -> str:
    """JSON: `worker` and `feed` in Ray's words (CPU and GPU in devices, memory in bytes), and the `labels`
    that a worker's node must carry.

    A feed that the spec says nothing of takes the place of a worker while it runs, see docs/adr/0014.
    """
    resources = spec.resources
    worker = {"CPU": resources.cpu, "GPU": resources.gpu, "memory": float(resources.memory or 0)}
    claim = {
        "worker": {kind: much for kind, much in worker.items() if much},
        "feed": {"CPU": spec.data.cpus} if spec.data.cpus else {},
        "labels": dict(sorted(resources.labels.items())),
    }
    return json.dumps(claim, separators=(",", ":"))


def submission_id(run: Run, driver: int) -> str:
    """By what name Ray knows the driver: RUN-ATTEMPT-DRIVER."""
    return f"{run.id}-{run.attempt}-{driver}"
