"""What the controller and the workers of a run tell each other: plain values that pickle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from orchestrator.checkpoints.catalog import Committed
from orchestrator.domain.vigil import Phase


@dataclass(frozen=True)
class Offer:
    """The controller offers a generation: who belongs to it, and where its members meet."""

    generation: int
    members: tuple[str, ...]
    """Worker ids; the place is the rank."""
    nodes: tuple[str, ...]
    """Node id of each member, in rank order."""
    store_host: str
    store_port: int
    recorded_step: int
    """The newest step the controller has on record; rank 0 reports what came after it."""
    checkpoints: tuple[Committed, ...] = ()
    """Committed checkpoints, newest first; used only when no member holds any state."""
    rewind_to: int | None = None
    """No member may go on with a state after this step: what came after it is not to be trusted."""
    urgent: bool = False
    """A member of the generation before is gone, or is to be waited for no longer."""
    tolerated: tuple[int, ...] = ()
    """Steps that were rolled back because they were not finite; if they are so again, they are skipped."""
    ask: int = 0
    """Number of the checkpoint that members are asked for at the next step boundary; 0 for none."""

    def rank(self, worker_id: str) -> int | None:
        return self.members.index(worker_id) if worker_id in self.members else None


@dataclass(frozen=True)
class WorkerProfile:
    """What a worker says of itself when it is warm."""

    worker_id: str
    pid: int
    node_id: str
    fingerprint: Mapping[str, str]
    """The numeric platform: two workers with different ones would not compute the same bits."""
    store_host: str
    store_port: int
    """Where a generation can meet whose first member is this worker."""
    rows: int
    """Training rows in an epoch."""
    num_steps: int
    validation_rows: int = 0


@dataclass(frozen=True)
class StepPoint:
    """One applied step."""

    step: int
    epoch: int
    first: int
    last: int
    """Half-open range of positions in the order of the epoch."""
    time_s: float
    """Wall clock, seconds since 1970, when the step was applied."""
    step_s: float
    generation: int
    world_size: int
    skipped: bool
    """Loss or gradient was not finite: the optimizer step was left out, on every rank."""
    metrics: Mapping[str, float]
    parameters_sha256: str | None = None
    """Of the state after the step, as is the next one; only where a link of the hash chain is due."""
    optimizer_sha256: str | None = None
    compute_s: tuple[float, ...] = ()
    """Seconds that each rank computed per logical shard at the step before, waiting not counted; 0: not
    known."""


@dataclass(frozen=True)
class StepsDone:
    worker_id: str
    generation: int
    points: tuple[StepPoint, ...]
    members: tuple[str, ...] = ()
    """Of the generation, in rank order."""


@dataclass(frozen=True)
class Entered:
    """A worker begins a phase that may take longer than a step, or is back from one."""

    worker_id: str
    generation: int
    phase: Phase


@dataclass(frozen=True)
class StepNotFinite:
    """Loss or gradient of a step was not finite."""

    worker_id: str
    generation: int
    step: int
    epoch: int
    first: int
    last: int
    """Half-open range of positions in the order of the epoch: of the shard, or of the step where the sum of
    finite shards overflowed."""
    culprit: str
    """The worker that computed the first logical shard that was not finite; empty where none was alone."""
    shard: int
    """That shard, or -1."""
    what: str
    """`loss` or `gradient`."""


@dataclass(frozen=True)
class ReplicasDiffer:
    """Members that should hold the same bits after `step` do not."""

    worker_id: str
    generation: int
    step: int
    rewind_to: int
    """The newest step whose state can still be trusted."""
    outvoted: tuple[str, ...]
    """Members of the minority; empty where no value has more than half of the votes."""
    members: tuple[str, ...]
    """All who voted."""


@dataclass(frozen=True)
class Formed:
    """A generation met, agreed on the newest step and goes on from it."""

    worker_id: str
    generation: int
    step: int
    """The newest step any member had applied; training goes on with the next one."""
    lost_steps: int
    """Steps that were begun, or recorded, and must be done again."""
    form_s: float
    """From adopting the offer to the last member's arrival, the new process group included."""
    copy_s: float
    """Time to copy state to the members that lacked it."""
    source: str
    """`fresh`, the worker id whose state was taken, or the path of the restored checkpoint."""
    skipped_checkpoints: tuple[tuple[str, str], ...] = ()
    """(path, reason) of checkpoints that were not good enough to restore."""


@dataclass(frozen=True)
class GroupBroken:
    """A collective of `generation` failed in this worker."""

    worker_id: str
    generation: int
    reason: str
    absent: tuple[str, ...] = ()
    """Members that did not show up in time, when that is why."""


@dataclass(frozen=True)
class PartsWritten:
    """A member's parts of a checkpoint are in storage; it is committed when those of all members are."""

    worker_id: str
    attempt: int
    generation: int
    step: int
    first: int
    last: int
    """Half-open range of logical shards."""
    files: tuple[tuple[str, int, str], ...]
    """(name in the folder of the step, bytes, XXH3-128) of each."""
    parameters_sha256: str | None
    """Of the whole state, as is the next one, where the step has a link of the hash chain."""
    optimizer_sha256: str | None
    metrics: Mapping[str, float]
    """Of the newest evaluation."""
    ask: int = 0
    """That it answers; 0 where it was due by itself."""


@dataclass(frozen=True)
class CheckpointFailed:
    """Training goes on; the next one may succeed."""

    worker_id: str
    generation: int
    step: int
    reason: str
    ask: int = 0


@dataclass(frozen=True)
class Evaluated:
    worker_id: str
    generation: int
    step: int
    metrics: Mapping[str, float]


Report: TypeAlias = (
    StepsDone
    | Entered
    | Formed
    | GroupBroken
    | StepNotFinite
    | ReplicasDiffer
    | PartsWritten
    | CheckpointFailed
    | Evaluated
)


@dataclass(frozen=True)
class Finished:
    """The worker did the last step, or left at a step boundary because it was asked to stop."""

    step: int
    parameters_sha256: str
    optimizer_sha256: str
    stopped: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    saved: PartsWritten | None = None
    """This member's parts of the last checkpoint; None where they could not be written."""


@dataclass(frozen=True)
class Retired:
    """The worker was left out of a generation and left."""


@dataclass(frozen=True)
class Raised:
    """User code, or ours, raised."""

    step: int
    error: str
    """One line: type and message."""
    traceback: str
    final: bool = False
    """Repeating it cannot help (a wrong spec, a refused model)."""


Outcome: TypeAlias = Finished | Retired | Raised
