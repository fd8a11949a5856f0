"""The sections of a run spec that decide what is learned: data and train."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from orchestrator.domain.spec_fields import (
    Amount,
    Conflict,
    Count,
    Fraction,
    Natural,
    Positive,
    Seed,
    Share,
    SpecPart,
    default_section,
    only_available,
    suggestion,
)
from orchestrator.domain.spec_parts import split_scheme

KNOWN_DATASETS: Final = ("stdlib",)
DEFAULT_STEPS: Final = 1000
DEFAULT_LOGICAL_SHARDS: Final = 8
DEFAULT_BETAS: Final = (0.9, 0.95)


def _source(location: str) -> str:
    scheme, rest = split_scheme(location)
    if scheme == "dataset":
        return _known_dataset(location, rest)
    if scheme != "file":
        near = suggestion(scheme, ("dataset", "file"))
        fix = (
            f"did you mean '{near}://'?"
            if near
            else "expected 'dataset://NAME', a path, a glob or 'file://PATH'"
        )
        raise ValueError(f"unknown scheme {scheme!r}, {fix}")
    if not rest:
        raise ValueError(f"expected 'dataset://NAME', a path, a glob or 'file://PATH', got {location!r}")
    return location


def _known_dataset(location: str, name: str) -> str:
    if name in KNOWN_DATASETS:
        return location
    near = suggestion(name, KNOWN_DATASETS)
    fix = f"did you mean {near!r}?" if near else f"expected one of: {', '.join(KNOWN_DATASETS)}"
    raise ValueError(f"unknown dataset {name!r}, {fix}")


class ShuffleSpec(SpecPart):
    """The order of the rows, which these numbers alone decide."""

    seed: Seed | None = None
    """None takes `train.seed`."""
    window: Count | None = None
    """Rows shuffled together; None shuffles the whole epoch at once."""


class DataSpec(SpecPart):
    """What the run reads."""

    source: Annotated[str, AfterValidator(_source)] = "dataset://stdlib"
    """`dataset://NAME`, or files by path, glob or `file://`; a relative one starts where it is submitted."""
    format: Annotated[Literal["text"], only_available("text")] = "text"
    tokenizer: Annotated[Literal["bytes"], only_available("bytes")] = "bytes"
    shuffle: ShuffleSpec = default_section(ShuffleSpec)
    on_bad_row: Literal["fail", "skip"] = "fail"
    """A skipped row is counted and named in an event."""
    cpus: Amount = 0.0
    """Cores that the data feed claims besides the workers."""
    validation_fraction: Share = 0.05
    """Share of the rows held out for evaluation; 0 holds out none."""

    @property
    def dataset(self) -> str | None:
        """NAME of `dataset://NAME`, None if the source is files."""
        scheme, name = split_scheme(self.source)
        return name if scheme == "dataset" else None

    @property
    def files(self) -> str | None:
        """Path or glob without `file://`, None if the source is a dataset by name."""
        scheme, path = split_scheme(self.source)
        return path if scheme == "file" else None


class OptimizerSpec(SpecPart):
    """How a gradient becomes a step."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 3e-4
    """Learning rate after the warm-up."""
    weight_decay: Amount = 0.0
    betas: tuple[Share, Share] = DEFAULT_BETAS
    """adamw only."""
    momentum: Share = 0.0
    """sgd only."""

    def conflicts(self) -> Iterator[Conflict]:
        if self.name == "adamw" and self.momentum != 0:
            yield Conflict(
                ("momentum", "name"), "only sgd has momentum, adamw takes betas; remove it or set name to sgd"
            )
        if self.name == "sgd" and self.betas != DEFAULT_BETAS:
            yield Conflict(
                ("betas", "name"),
                "only adamw has betas, sgd takes momentum; remove them or set name to adamw",
            )


class ScheduleSpec(SpecPart):
    """How the learning rate moves over the steps."""

    name: Literal["constant", "cosine"] = "constant"
    warmup_steps: Natural = 0
    """Steps over which the rate rises in a straight line to `optimizer.lr`."""
    final_fraction: Fraction = 0.1
    """cosine only: the last rate as a share of `optimizer.lr`."""


class TrainSpec(SpecPart):
    """How long and how the model learns."""

    epochs: Count | None = None
    """Passes over the data; leaves `steps` unset."""
    steps: Count | None = Field(default_factory=lambda earlier: None if earlier["epochs"] else DEFAULT_STEPS)
    """Optimizer updates; left out without `epochs`: 1000."""
    global_batch: Count = 64
    """Rows in one step, over all workers."""
    logical_shards: Count = Field(
        default_factory=lambda earlier: min(DEFAULT_LOGICAL_SHARDS, earlier["global_batch"])
    )
    """Fixed slices of the global batch, the most workers that can share a step. Part of the result's bits.
    Left out: 8, or `global_batch` if that is less."""
    seed: Seed = 1
    optimizer: OptimizerSpec = default_section(OptimizerSpec)
    schedule: ScheduleSpec = default_section(ScheduleSpec)
    clip_grad_norm: Positive | None = None
    """Longest gradient (2-norm over all parameters); None does not clip."""
    consistency: Annotated[Literal["bitwise"], only_available("bitwise")] = "bitwise"
    """`bitwise`: the same bits at any number of workers."""
    evaluate_every: Count | None = None
    """Steps between evaluations; None evaluates only at the end."""
    evaluate_rows: Count = 512
    """Validation rows that one evaluation looks at."""

    def conflicts(self) -> Iterator[Conflict]:
        if self.steps is not None and self.epochs is not None:
            yield Conflict(
                ("epochs", "steps"),
                f"expected steps or epochs, got both ({self.steps} and {self.epochs}); remove one",
            )
        if self.logical_shards > self.global_batch:
            yield Conflict(
                ("logical_shards", "global_batch"),
                f"expected at most train.global_batch ({self.global_batch}), got {self.logical_shards}",
            )
        if self.steps is not None and self.schedule.warmup_steps > self.steps:
            yield Conflict(
                ("schedule.warmup_steps", "steps"),
                f"expected at most train.steps ({self.steps}), got {self.schedule.warmup_steps}",
            )
