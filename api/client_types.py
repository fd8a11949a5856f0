"""What the service answers. Fields that this version does not know are kept and shown to programs."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.domain.status import RunStatus

TERMINAL: Final = frozenset(status.value for status in RunStatus if status.terminal)


class Answer(BaseModel):
    """Something from the service. All times are RFC 3339 in UTC."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def content(self) -> dict[str, Any]:
        """All of it for programs, as it came: what was not sent is not made up."""
        return self.model_dump(mode="json", exclude_unset=True)


class Wait(Answer):
    """Why a run stands in the queue."""

    position: int | None = None
    why: str | None = None


class WorkerCounts(Answer):
    """As scaled last (`min`, `max`), in the newest generation (`now`), and as granted (`target`)."""

    min: int = 1
    max: int = 1
    now: int = 0
    target: int = 0


class RunInfo(Answer):
    """One run."""

    id: str
    name: str
    status: str
    reason: str | None = None
    message: str = ""
    phase: str = ""
    wait: Wait | None = None
    spec: dict[str, Any] | None = None
    """None in lists and in streams."""
    labels: dict[str, str] = Field(default_factory=dict)
    queue: str = "default"
    priority: int = 50
    workers: WorkerCounts = WorkerCounts()
    attempt: int = 0
    driver: int = 0
    generation: int = 0
    step: int = 0
    total_steps: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    checkpoint: str | None = None
    parameters_sha256: str | None = None
    created: str | None = None
    queued: str | None = None
    started: str | None = None
    ended: str | None = None
    updated: str | None = None
    path: str | None = None
    """The run directory, as the machine of the service sees it."""
    version: int = 1

    @property
    def over(self) -> bool:
        """Nothing more will happen to it."""
        return self.status in TERMINAL


class AttemptInfo(Answer):
    number: int
    started: str | None = None
    ended: str | None = None
    reason: str | None = None
    message: str = ""
    first_step: int = 0
    last_step: int = 0


class GenerationInfo(Answer):
    attempt: int = 0
    number: int
    formed: str | None = None
    step: int = 0
    workers: tuple[str, ...] = ()
    steps_repeated: int = 0
    form_s: float = 0.0


class EventInfo(Answer):
    seq: int
    time: str
    kind: str
    message: str = ""
    attempt: int = 0
    facts: dict[str, Any] = Field(default_factory=dict)


class NodeInfo(Answer):
    id: str
    address: str = ""
    hostname: str = ""
    alive: bool = True
    head: bool = False
    resources: dict[str, float] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    cordoned: bool = False
    draining: bool = False


class LogLine(Answer):
    worker: str
    attempt: int = 0
    text: str = ""


class Nodes(Answer):
    nodes: tuple[NodeInfo, ...] = ()
    trouble: str | None = None
    """Why the cluster is away; None while it answers."""


class Plan(Answer):
    """What would become of a submit."""

    spec: dict[str, Any] = Field(default_factory=dict)
    plan: dict[str, Any] = Field(default_factory=dict)
    """`workers`, `fits`, `why` and `ahead`: how many runs stand before it."""


class LogPage(Answer):
    lines: tuple[LogLine, ...] = ()
    next: str | None = None
    """Give it back for what came after."""


class RunPage(Answer):
    runs: tuple[RunInfo, ...] = ()
    next_cursor: str | None = None


def points_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One mapping per step from the columns of the service, without what a step does not have."""
    steps = columns.get("step") or ()
    kept = {name: values for name, values in columns.items() if isinstance(values, list)}
    return [
        {name: values[index] for name, values in kept.items() if values[index] is not None}
        for index in range(len(steps))
    ]
