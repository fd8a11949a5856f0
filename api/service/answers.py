"""What the service answers, as models: they document it, and tests hold the answers against them."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.status import RunStatus

Number = float | str
"""Text only for what is not finite: NaN, Infinity, -Infinity."""


class Shown(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class WaitShown(Shown):
    position: int | None
    """1 is next; None for a run that has workers, in lists, and in the answer to a submit."""
    why: str | None
    """One sentence: why it waits, or has fewer workers than it could use; None while it is not known."""


class WorkersShown(Shown):
    min: int
    max: int
    now: int
    """In the newest generation."""
    target: int
    """Granted by the scheduler."""


class RunShown(Shown):
    """One run, as its own stream shows it. Times are RFC 3339 in UTC."""

    id: str
    name: str
    status: RunStatus
    reason: str | None
    message: str
    phase: str
    labels: dict[str, str]
    queue: str
    priority: int
    workers: WorkersShown
    attempt: int
    driver: int
    generation: int
    step: int
    total_steps: int | None
    metrics: dict[str, Number]
    checkpoint: str | None
    parameters_sha256: str | None
    created: str
    queued: str
    started: str | None
    ended: str | None
    updated: str
    path: str
    """The run directory, on the machine of the service."""
    version: int
    """The ETag."""


class RunListed(RunShown):
    """One run, as lists and the stream over all runs show it. Times are RFC 3339 in UTC."""

    wait: WaitShown | None
    """Of a run that is QUEUED or STARTING, or has fewer workers than it could use."""


class RunDetail(RunListed):
    """One run and what was asked for. Only GET fills in `wait`, and the answer to a submit of what can never
    fit the cluster as it is."""

    spec: dict[str, Any]


class RunList(Shown):
    runs: list[RunListed]
    next_cursor: str | None
    total: int | None
    """How many runs match, on all pages; None on all pages but the first."""


class PlannedWorkers(Shown):
    min: int
    max: int


class PlanShown(Shown):
    workers: PlannedWorkers
    fits: bool
    """Whether the cluster as it is could hold the minimum, were nothing else on it."""
    why: str | None
    """Why it would not start at once."""
    ahead: int
    """QUEUED runs that would go first."""


class DryRun(Shown):
    spec: dict[str, Any]
    """With every default filled in."""
    plan: PlanShown


class AttemptShown(Shown):
    number: int
    started: str
    ended: str | None
    reason: str | None
    message: str
    first_step: int
    last_step: int


class AttemptList(Shown):
    attempts: list[AttemptShown]


class DriverShown(Shown):
    attempt: int
    number: int
    submission_id: str
    started: str
    ended: str | None
    message: str


class DriverList(Shown):
    drivers: list[DriverShown]


class GenerationShown(Shown):
    attempt: int
    number: int
    formed: str
    step: int
    workers: list[str]
    """In rank order."""
    steps_repeated: int
    form_s: float


class GenerationList(Shown):
    generations: list[GenerationShown]


class EventShown(Shown):
    seq: int
    time: str
    kind: str
    message: str
    attempt: int
    facts: dict[str, Any]


class EventList(Shown):
    events: list[EventShown]
    next_after: int
    """Give it as `after` for what comes next."""


class WorkerShown(Shown):
    worker: str
    attempt: int
    state: str
    """`starting`, `warm`, `training`, or how it left: `lost`, `hung`, `corrupted`, `retired`, `refused` or
    `ended`."""
    pid: int | None
    node_id: str | None
    since: str


class WorkerList(Shown):
    workers: list[WorkerShown]


class CheckpointShown(Shown):
    """As its manifest describes it; None where that is damaged. `/verify` reads the files too."""

    name: str
    step: int
    attempt: int
    generation: int
    path: str
    size: int | None
    """Bytes of all its files."""
    metrics: dict[str, Number]
    committed: str | None
    parameters_sha256: str | None
    problem: str | None
    """Why it cannot be restored; None where nothing is seen without reading its files."""


class CheckpointList(Shown):
    checkpoints: list[CheckpointShown]


class CheckpointCheck(Shown):
    """What came of reading all of a checkpoint."""

    name: str
    step: int
    attempt: int
    generation: int
    ok: bool
    problem: str | None
    """The file that is not what was committed, in a sentence."""


class LogLine(Shown):
    worker: str
    attempt: int
    text: str


class LogList(Shown):
    lines: list[LogLine]
    next: str
    """Give it as `since` for what comes next."""


class NodeShown(Shown):
    id: str
    address: str
    hostname: str
    alive: bool
    head: bool
    resources: dict[str, float]
    labels: dict[str, str]
    cordoned: bool
    """No new worker starts there."""
    draining: bool
    """It will be gone: workers move away."""


class NodeList(Shown):
    nodes: list[NodeShown]
    trouble: str | None


class QueueShown(Shown):
    name: str
    quota: dict[str, float]
    """The most that its runs hold together; what is not named has no limit."""
    weight: float
    held: dict[str, float]
    """What they hold now, by the workers that are granted."""
    running: int
    waiting: int


class QueueList(Shown):
    queues: list[QueueShown]


class DatasetShown(Shown):
    name: str
    source: str


class DatasetList(Shown):
    datasets: list[DatasetShown]


class TaskShown(Shown):
    name: str
    model: dict[str, Any]
    """JSON Schema of its `model:` section."""


class TaskList(Shown):
    tasks: list[TaskShown]


class Readiness(Shown):
    ready: bool
    reasons: list[str]
    ray: str | None
    """Why Ray is away; submits are taken and wait all the same."""


class Liveness(Shown):
    alive: bool


class VersionShown(Shown):
    tumbler: str
    ray: str
    python: str
    api: str


class PackageShown(Shown):
    sha256: str
    size: int
    """Bytes."""
