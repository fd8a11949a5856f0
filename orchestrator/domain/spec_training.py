"""The sections of a run spec that decide what is learned: data and train."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from orchestrator.domain.checkpoint_reference import CheckpointReference
from orchestrator.domain.names import check_name
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
    Words,
    default_section,
    suggestion,
)
from orchestrator.domain.spec_parts import split_scheme

KNOWN_DATASETS: Final = ("stdlib",)
"""Those that are on every machine; others are registered in a storage."""
DEFAULT_WINDOW: Final = 10_000
DEFAULT_VOCABULARY: Final = 8192
DEFAULT_TEXT_COLUMN: Final = "text"
SMALLEST_VOCABULARY: Final = 257
"""Of a trained tokenizer: the 256 bytes and the end of text."""
DEFAULT_STEPS: Final = 1000
DEFAULT_LOGICAL_SHARDS: Final = 8
DEFAULT_BETAS: Final = (0.9, 0.95)
_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_TABLES: Final = ("jsonl", "csv", "parquet")


Format = Literal["text", "jsonl", "csv", "parquet", "images"]


def _source(location: str) -> str:
    scheme, rest = split_scheme(location)
    if not rest:
        raise ValueError(f"expected 'dataset://NAME', a path, a glob or a URI, got {location!r}")
    if scheme == "dataset":
        check_name(rest)
    elif scheme != "file":
        near = suggestion(scheme, ("dataset", "file"))
        if near:
            raise ValueError(f"unknown scheme {scheme!r}, did you mean '{near}://'?")
    return location


def _tokenizer(name: str) -> str:
    if name in ("bytes", "bpe") or name.endswith(".json"):
        return name
    near = suggestion(name, ("bytes", "bpe"))
    fix = f"did you mean {near!r}?" if near else "expected 'bytes', 'bpe' or the path of a tokenizer.json"
    raise ValueError(f"unknown tokenizer {name!r}, {fix}")


def _transform(text: str) -> str:
    if not _FUNCTION.fullmatch(text):
        raise ValueError(f"expected 'module:function' such as 'prepare:clean', got {text!r}")
    return text


def _reference(text: str) -> str:
    CheckpointReference.parse(text)
    return text


class ShuffleSpec(SpecPart):
    """The order of the rows, which these numbers alone decide."""

    seed: Seed | None = None
    """None takes `train.seed`."""
    window: Count | None = DEFAULT_WINDOW
    """Rows shuffled together; here null is no default but the whole epoch at once."""

    @model_validator(mode="before")
    @classmethod
    def _null_means_default(cls, values: Any) -> Any:
        # A window of null says something, so it stays; that of an older run's spec does too.
        if not isinstance(values, Mapping):
            return values
        return {key: value for key, value in values.items() if value is not None or key == "window"}


class DataSpec(SpecPart):
    """What the run reads."""

    source: Annotated[str, AfterValidator(_source)] = "dataset://stdlib"
    """`dataset://NAME`, or files by path, glob or URI; a relative path starts where it is submitted."""
    format: Format = "text"
    columns: tuple[Words, ...] = ()
    """jsonl, csv and parquet: the columns that make a row; none named takes all."""
    text_column: Words | None = None
    """jsonl, csv and parquet: the column that is tokenised for a task with a `context`; left out: `text`."""
    tokenizer: Annotated[str, AfterValidator(_tokenizer)] = "bytes"
    """`bytes`; `bpe`, trained on the corpus; or the path of a `tokenizer.json`."""
    vocabulary: Annotated[Count, Field(ge=SMALLEST_VOCABULARY)] | None = None
    """bpe only: number of token ids, the end of text included; left out: 8192."""
    transform: Annotated[str, AfterValidator(_transform)] | None = None
    """`module:function` of yours that turns a row into a row, before anything is tokenised."""
    transform_per: Literal["row", "file"] = "row"
    """`file` calls it once per file with all its rows as an Arrow table, and takes a table back."""
    shuffle: ShuffleSpec = default_section(ShuffleSpec)
    on_bad_row: Literal["fail", "skip"] = "fail"
    """A skipped row is counted and named."""
    cpus: Amount | None = None
    """Cores of the data feed, taken before the first worker and given back when all rows are there; left
    out: 1, and a service counts them among those of the workers."""
    validation_fraction: Share = 0.05
    """Share of the rows held out for evaluation; 0 holds out none."""

    @property
    def feed_cpus(self) -> float:
        """What a feed claims where one is needed; 0 claims nothing."""
        return 1.0 if self.cpus is None else self.cpus

    @property
    def dataset(self) -> str | None:
        """NAME of `dataset://NAME`, None if the source is files."""
        scheme, name = split_scheme(self.source)
        return name if scheme == "dataset" else None

    @property
    def tokenizer_file(self) -> str | None:
        """Path of the tokenizer.json, None for `bytes` and `bpe`."""
        return None if self.tokenizer in ("bytes", "bpe") else self.tokenizer

    @property
    def files(self) -> str | None:
        """Path or glob without `file://`, None if the source is a dataset by name or another URI."""
        scheme, path = split_scheme(self.source)
        return path if scheme == "file" else None

    def conflicts(self) -> Iterator[Conflict]:
        yield from self._conflicts_of_columns()
        if self.vocabulary is not None and self.tokenizer != "bpe":
            yield Conflict(
                ("vocabulary", "tokenizer"),
                f"only bpe is trained to a vocabulary, the tokenizer is {self.tokenizer}; remove it",
            )
        if self.format == "images" and self.tokenizer != "bytes":
            yield Conflict(("tokenizer", "format"), "images are not tokenised; remove it")
        if self.transform is None and self.transform_per != "row":
            yield Conflict(("transform_per", "transform"), "there is no transform; name one or remove it")
        if self.dataset == "stdlib" and self.format != "text":
            yield Conflict(
                ("format", "source"), f"dataset://stdlib is text, got {self.format}; remove the format"
            )

    def _conflicts_of_columns(self) -> Iterator[Conflict]:
        named = {"columns": self.columns, "text_column": self.text_column}
        if self.format not in _TABLES:
            for field, value in named.items():
                if value:
                    yield Conflict(
                        (field, "format"),
                        f"only jsonl, csv and parquet have columns, {self.format} has none; remove it",
                    )
        elif self.columns and self.text_column and self.text_column not in self.columns:
            yield Conflict(
                ("text_column", "columns"), f"expected one of data.columns, got {self.text_column!r}"
            )


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
    from_checkpoint: Annotated[str, AfterValidator(_reference)] | None = None
    """Whose parameters the model begins with: a run's name, or the path or URI of a run's checkpoints or of
    one, perhaps with `@STEP` or `@best`. Pinned to a step at the start. Part of the result's bits."""
    optimizer: OptimizerSpec = default_section(OptimizerSpec)
    schedule: ScheduleSpec = default_section(ScheduleSpec)
    clip_grad_norm: Positive | None = None
    """Longest gradient (2-norm over all parameters); None does not clip."""
    micro_batch: Count | None = None
    """Rows in one forward pass, to bound its memory: the gradients of a logical shard are summed from so many
    rows at a time. None takes them all at once. Part of the result's bits."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16`: forward passes under bfloat16 autocast; parameters, gradients and their sums stay float32."""
    consistency: Literal["bitwise", "fast"] = "bitwise"
    """`bitwise`: the same bits at any number of workers. `fast`: the same rows in every step, but one forward
    pass over all rows of a worker; the last bits depend on the number of workers."""
    evaluate_every: Count | None = None
    """Steps between evaluations; None evaluates only at the end."""
    evaluate_rows: Count = 512
    """Validation rows that one evaluation looks at."""
    verify_every: Natural = 100
    """Steps between comparisons of all replicas' bits; each checkpoint is preceded by one too. 0 compares
    never. No part of the result's bits."""

    @property
    def rows_at_once(self) -> int:
        """Rows in one forward pass of a bitwise step, at most."""
        rows_of_shard = -(-self.global_batch // self.logical_shards)
        return min(rows_of_shard, self.micro_batch or rows_of_shard)

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
