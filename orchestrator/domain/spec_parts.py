"""The sections of a run spec that are not about learning: workers, code, checkpoints, patience."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from orchestrator.domain.spec_fields import (
    Amount,
    Budget,
    Bytes,
    Conflict,
    Count,
    EnvironmentName,
    Flag,
    Interval,
    IntervalOrWord,
    Patience,
    PatienceOrAuto,
    Seconds,
    SpecPart,
    Words,
    describe,
    only_available,
)

MOST_WORKERS: Final = 10_000
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_RANGE: Final = re.compile(r"\s*([0-9]{1,9})\s*(?::\s*([0-9]{1,9})\s*)?")


def split_scheme(location: str) -> tuple[str, str]:
    """(`file`, `./runs`) for `file://./runs`; a plain path counts as scheme `file`."""
    match = _SCHEME.fullmatch(location)
    return (match[1].lower(), match[2]) if match else ("file", location)


def absolute_location(location: str) -> str:
    """A path, as which `file://` counts, made absolute; any other URI as it is."""
    scheme, path = split_scheme(location)
    return os.path.abspath(os.path.expanduser(path)) if scheme == "file" else location


def joined(location: str, *names: str) -> str:
    """The location of what lies in `location` under these names; the options behind a `?` stay last."""
    scheme, path = split_scheme(location)
    if scheme == "file":
        return str(Path(path, *names))
    base, mark, options = location.partition("?")
    return "/".join([base.rstrip("/"), *names]) + mark + options


class WorkersSpec(SpecPart):
    """How many workers a run needs and how many it can use; also written `2`, `1:4` or `[1, 4]`."""

    min: Annotated[Count, Field(le=MOST_WORKERS)] = 1
    """The run waits (QUEUED) while the cluster cannot grant this many."""
    max: Annotated[Count, Field(le=MOST_WORKERS)] = Field(default_factory=lambda earlier: int(earlier["min"]))
    """Left out: as many as `min`, so the group has a fixed size."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        match value:
            case WorkersSpec() | Mapping():
                return value
            case str():
                found = _RANGE.fullmatch(value)
                if found:
                    return {"min": int(found[1]), "max": int(found[2] or found[1])}
            case Sequence() if len(value) == 2:
                return {"min": value[0], "max": value[1]}
            case int() if not isinstance(value, bool):
                return {"min": value, "max": value}
        raise ValueError(f"expected 2, '1:4', [1, 4] or {{min: 1, max: 4}}, got {describe(value)}")

    def conflicts(self) -> Iterator[Conflict]:
        if self.min > self.max:
            yield Conflict(("min", "max"), f"expected at most workers.max ({self.max}), got {self.min}")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        mapping = handler.resolve_ref_schema(handler(core_schema))
        forms = [
            {"type": "integer", "minimum": 1},
            {"type": "string", "pattern": "^[0-9]+(:[0-9]+)?$"},
            {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2},
        ]
        return {"description": mapping.get("description", ""), "anyOf": [dict(mapping), *forms]}


class ResourcesSpec(SpecPart):
    """What one worker claims from its node."""

    cpu: Amount = 1.0
    """Cores; a part of one is allowed."""
    gpu: Amount = 0.0
    """Devices; a part of one is allowed, more than one must be whole."""
    memory: Bytes | None = None
    """Bytes, also `2Gi` or `512M`; None claims none."""
    threads: Count = 1
    """Threads that torch computes with; part of the result's bits, so they never follow the node."""
    labels: dict[Words, str] = Field(default_factory=dict)
    """Labels that the worker's node must carry."""

    def conflicts(self) -> Iterator[Conflict]:
        if self.gpu > 1 and not self.gpu.is_integer():
            yield Conflict(("gpu",), f"more than one GPU must be a whole number, got {self.gpu}")
        if self.cpu == 0 and self.gpu == 0:
            yield Conflict(
                ("cpu", "gpu"),
                "expected more than 0 of cpu or gpu, got 0 of both; a worker must claim something",
            )


class CodeSpec(SpecPart):
    """The user's code and its surroundings, shipped to every node."""

    working_dir: Words = "."
    """A folder; a relative one counts from where the run is submitted."""
    exclude: tuple[Words, ...] = ()
    """Patterns as in `.gitignore` of what not to ship."""
    env: dict[EnvironmentName, str] = Field(default_factory=dict)
    pip: tuple[Words, ...] = ()
    """Requirements as `pip install` takes them."""


class ParallelismSpec(SpecPart):
    """How one model is spread over workers; this version knows plain data parallelism only."""

    replicate: Annotated[Literal["auto"], only_available("auto")] = "auto"
    """Copies of the model; `auto` makes as many as there are workers."""
    shard: Annotated[Literal[1], only_available(1)] = 1
    tensor: Annotated[Literal[1], only_available(1)] = 1
    pipeline: Annotated[Literal[1], only_available(1)] = 1
    sync: Annotated[Literal["allreduce"], only_available("allreduce")] = "allreduce"
    compression: Annotated[Literal["none"], only_available("none")] = "none"


def _local_storage(location: str) -> str:
    scheme, path = split_scheme(location)
    if scheme != "file":
        raise ValueError(f"expected a folder such as './runs' or 'file:///data/runs', got scheme {scheme!r}")
    if not path:
        raise ValueError(f"expected a folder such as './runs' or 'file:///data/runs', got {location!r}")
    return location


def _location(location: str) -> str:
    if not split_scheme(location)[1]:
        raise ValueError(f"expected a folder or a URI such as 's3://bucket/prefix', got {location!r}")
    return location


class KeepBest(SpecPart):
    """Keep the best checkpoint too, besides the last ones."""

    metric: Words
    """A metric of the evaluation, such as `val_loss`."""
    mode: Literal["min", "max"] = "min"


class CheckpointSpec(SpecPart):
    """Where the run directory lies, and when a checkpoint is committed and dropped."""

    storage: Annotated[str, AfterValidator(_local_storage)] = "file://./runs"
    """A folder, plain or as `file://`, that all nodes see; the run directory is made inside it."""
    location: Annotated[str, AfterValidator(_location)] | None = None
    """A folder that all nodes see, or a URI such as `s3://bucket/prefix`: checkpoints lie in it under the
    run's name. None leaves them in the run directory."""
    every: Interval = 100
    """Steps between two committed checkpoints; the last step always gets one."""
    link_every: Interval | None = None
    """Steps between two links of the hash chain, when each worker hashes its state; None takes `every`."""
    snapshot_every: IntervalOrWord = "auto"
    """Steps between two snapshots, copies in the memory of the nodes from which a run goes on when all its
    workers are lost; `auto` takes one about every second, `never` none."""
    keep_last: Count = 3
    keep_every: Interval | None = None
    """Checkpoints at multiples of so many steps are kept for ever; a multiple of `every`."""
    keep_best: KeepBest | None = None

    @property
    def links_every(self) -> int:
        """Steps between two links of the hash chain."""
        return self.link_every or self.every

    @property
    def storage_path(self) -> Path:
        """The folder as a path; a relative one counts from where the run is submitted."""
        return Path(split_scheme(self.storage)[1])

    def checkpoints_of(self, run_folder: Path) -> str:
        """Path or URI of the checkpoints of the run in a run directory, which is called as the run is."""
        if self.location is None:
            return str(run_folder / "checkpoints")
        return joined(self.location, run_folder.name)

    def conflicts(self) -> Iterator[Conflict]:
        if self.keep_every is not None and self.keep_every % self.every:
            yield Conflict(
                ("keep_every", "every"),
                f"expected a multiple of checkpoint.every ({self.every}), got {self.keep_every}",
            )


class RetrySpec(SpecPart):
    """How much may go wrong before a run is FAILED; its own errors are counted apart from the cluster's."""

    max_failures: Budget = 3
    """Errors of the user's own code that are forgiven; -1 forgives all."""
    max_preemptions: Budget = -1
    """Times the run may be preempted; -1 sets no limit."""
    max_losses_without_progress: Count = 3
    """Losses or errors in a row at one step, whoever caused them."""
    hang_timeout: PatienceOrAuto = None
    """Seconds that a worker may keep the others waiting; None (also `auto`) follows the run's own pace."""
    start_timeout: Patience = 600.0
    """Seconds until a worker must be ready to train; also `10m`."""
    on_nan: Literal["skip", "rollback", "fail"] = "skip"
    """A step whose loss or gradient is not finite: `skip` leaves its update out, `rollback` goes back and
    tries it once more before that, `fail` ends the run."""
    replace_stragglers: Flag = False
    """Whether a worker that computes far slower than its peers is replaced, at a step boundary."""


class StopSpec(SpecPart):
    """When a run ends before its work is done."""

    max_duration: Patience | None = None
    """Seconds from the first start, also `2h`; None sets no limit."""
    grace: Seconds = 30.0
    """Seconds, also `30s`, for a last checkpoint after a wish to stop."""


class MlflowSpec(SpecPart):
    """One MLflow run that is told the metrics through all attempts."""

    tracking_uri: Words | None = None
    """Address of a server or a database; by default what MLflow itself takes, such as MLFLOW_TRACKING_URI."""
    experiment: Words = "tumbler"
    """Made where it is not there."""


class WandbSpec(SpecPart):
    """One run of Weights & Biases that is told the metrics through all attempts."""

    project: Words = "tumbler"
    entity: Words | None = None
    """A user or team; by default that of the key."""
    mode: Literal["online", "offline"] = "online"
    """`offline` writes below the run directory, for `wandb sync`."""


class LogSpec(SpecPart):
    """Where metrics go, besides the run directory."""

    tensorboard: Flag = False
    mlflow: MlflowSpec | None = None
    """Needs the package mlflow or mlflow-skinny where the driver runs."""
    wandb: WandbSpec | None = None
    """Needs the package wandb there, and WANDB_API_KEY unless it is offline."""

    @property
    def trackers(self) -> tuple[str, ...]:
        """Those that are asked for, by the names of their fields."""
        return tuple(name for name in type(self).model_fields if getattr(self, name))


def repeated(values: Sequence[str]) -> tuple[str, ...]:
    """The values that occur more than once, each named once, in order."""
    return tuple(value for value, count in Counter(values).items() if count > 1)
