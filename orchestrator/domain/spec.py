"""The run spec: what the user asks for, checked once and immutable from then on."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field

from orchestrator.domain.errors import SpecError
from orchestrator.domain.names import generate_name
from orchestrator.domain.spec_fields import (
    Conflict,
    EnvironmentName,
    JsonObject,
    Name,
    Priority,
    SpecPart,
    Words,
    default_section,
    describe,
)
from orchestrator.domain.spec_parts import (
    CheckpointSpec,
    CodeSpec,
    KeepBest,
    LogSpec,
    ParallelismSpec,
    ResourcesSpec,
    RetrySpec,
    StopSpec,
    WorkersSpec,
    repeated,
)
from orchestrator.domain.spec_problems import examine
from orchestrator.domain.spec_training import DataSpec, OptimizerSpec, ScheduleSpec, ShuffleSpec, TrainSpec

__all__ = [
    "CheckpointSpec",
    "CodeSpec",
    "DataSpec",
    "KeepBest",
    "LogSpec",
    "OptimizerSpec",
    "ParallelismSpec",
    "ResourcesSpec",
    "RetrySpec",
    "RunSpec",
    "ScheduleSpec",
    "ShuffleSpec",
    "StopSpec",
    "TrainSpec",
    "WorkersSpec",
    "json_schema",
]

_KINDS: Final = ("task", "entrypoint", "command")
_NOT_IN_FINGERPRINT: Final = frozenset({"name", "labels", "queue", "priority"})
_OBJECT: Final = r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"
_TASK: Final = re.compile(rf"[A-Za-z_][\w-]*|{_OBJECT}")
_ENTRYPOINT: Final = re.compile(_OBJECT)


def _version(value: Any) -> Any:
    if type(value) is not int or value != 1:
        raise ValueError(f"expected 1, the only spec version that this Tumbler reads, got {describe(value)}")
    return value


def _task(text: str) -> str:
    if not _TASK.fullmatch(text):
        raise ValueError(
            f"expected a built-in task such as 'language_model' or 'module:TaskClass', got {text!r}"
        )
    return text


def _entrypoint(text: str) -> str:
    if not _ENTRYPOINT.fullmatch(text):
        raise ValueError(f"expected 'module:function' such as 'pkg.train:train_fn', got {text!r}")
    return text


class RunSpec(SpecPart):
    """One training request.

    `RunSpec(...)` takes nested dicts and raises pydantic's ValidationError; `parse` raises a SpecError.
    """

    version: Annotated[Literal[1], BeforeValidator(_version)] = 1
    """Format of this spec."""
    name: Name = Field(default_factory=generate_name)
    """A DNS label of at most 63 characters; left out, one such as `brave-otter-7f3a` is made up."""
    labels: dict[Words, str] = Field(default_factory=dict)
    queue: Name = "default"
    priority: Priority = 50
    """0 to 100; a higher one goes first."""
    task: Annotated[str, AfterValidator(_task)] | None = None
    """A built-in task, or `module:TaskClass` of the user's; this, `entrypoint` or `command` must be there."""
    entrypoint: Annotated[str, AfterValidator(_entrypoint)] | None = None
    """`module:function` that Ray Train would take as train_loop_per_worker(config)."""
    command: Words | None = None
    """A shell command, started once per worker with torchrun's environment variables."""
    config: JsonObject = Field(default_factory=dict)
    """What the entrypoint is called with."""
    model: JsonObject = Field(default_factory=dict)
    """The task's own configuration, checked against its config class."""
    workers: WorkersSpec = default_section(WorkersSpec)
    resources: ResourcesSpec = default_section(ResourcesSpec)
    """Per worker."""
    code: CodeSpec = default_section(CodeSpec)
    secrets: tuple[EnvironmentName, ...] = ()
    """Names only; the values never enter a spec."""
    parallelism: ParallelismSpec = default_section(ParallelismSpec)
    data: DataSpec = default_section(DataSpec)
    train: TrainSpec = default_section(TrainSpec)
    checkpoint: CheckpointSpec = default_section(CheckpointSpec)
    retry: RetrySpec = default_section(RetrySpec)
    stop: StopSpec = default_section(StopSpec)
    log: LogSpec = default_section(LogSpec)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Checks a mapping as read from YAML or JSON.

        Raises:
            SpecError: lists every problem at once, each with a pointer such as `workers.max`.
        """
        spec, problems = examine(cls, values)
        if spec is None:
            raise SpecError(problems)
        return spec

    @property
    def shuffle_seed(self) -> int:
        """The seed of the row order: `data.shuffle.seed`, or `train.seed` where that is left out."""
        seed = self.data.shuffle.seed
        return self.train.seed if seed is None else seed

    def canonical_json(self) -> str:
        """The whole spec, defaults included, as JSON with sorted keys and no white space."""
        return _canonical(self.model_dump(mode="json"))

    def plain_json(self) -> str:
        """The same content with keys in the order of the fields: made in a fifth of the time."""
        return self.model_dump_json()

    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of the canonical JSON without name, labels, queue and priority."""
        content = _canonical(self.model_dump(mode="json", exclude=set(_NOT_IN_FINGERPRINT)))
        return hashlib.sha256(content.encode()).hexdigest()

    def result_fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of `result_content`."""
        return hashlib.sha256(_canonical(self.result_content()).encode()).hexdigest()

    def result_content(self) -> dict[str, Any]:
        """What decides the result's bits: task, model, data, train, threads."""
        content = self.model_dump(mode="json", include={"task", "model", "train"})
        del content["train"]["verify_every"]
        content["data"] = self.data.model_dump(mode="json", exclude={"cpus"})
        content["threads"] = self.resources.threads
        return content

    def conflicts(self) -> Iterator[Conflict]:
        yield from self._conflicts_of_kind()
        twice = repeated(self.secrets)
        if twice:
            yield Conflict(
                ("secrets",), f"expected each name once, got {', '.join(map(repr, twice))} more than once"
            )
        if self.task is not None and self.workers.max > self.train.logical_shards:
            yield Conflict(
                ("workers.max", "train.logical_shards", "train.global_batch", "task"),
                f"expected at most train.logical_shards ({self.train.logical_shards}), got"
                f" {self.workers.max}; lower it, or set train.logical_shards to {self.workers.max} or more",
            )

    def _conflicts_of_kind(self) -> Iterator[Conflict]:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            fix = "keep one" if given else "add 'task: language_model'"
            message = (
                f"expected one of task, entrypoint or command, got {' and '.join(given) or 'none'}; {fix}"
            )
            yield Conflict((given[1] if given else "", *_KINDS), message)
            return
        if self.config and self.entrypoint is None:
            yield Conflict(
                ("config", *_KINDS),
                f"only an entrypoint reads config, the kind of this run is {given[0]}; remove it",
            )
        if self.model and self.task is None:
            yield Conflict(
                ("model", *_KINDS), f"only a task reads model, the kind of this run is {given[0]}; remove it"
            )
        if self.task is None:
            yield from self._conflicts_without_a_task(given[0])

    def _conflicts_without_a_task(self, kind: str) -> Iterator[Conflict]:
        of_tasks = {
            "train.from_checkpoint": self.train.from_checkpoint,
            "checkpoint.location": self.checkpoint.location,
            "checkpoint.keep_every": self.checkpoint.keep_every,
            "checkpoint.keep_best": self.checkpoint.keep_best,
            **{f"log.{name}": True for name in self.log.trackers},
        }
        for pointer, value in of_tasks.items():
            if value is not None:
                yield Conflict(
                    (pointer, *_KINDS), f"only a task has this, the kind of this run is {kind}; remove it"
                )


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a run spec, for editors; what the short forms accept included."""
    schema = RunSpec.model_json_schema(mode="validation")
    choice = [{"required": [kind]} for kind in _KINDS]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Tumbler run spec",
        "oneOf": choice,
    }


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
