"""The run directory, STORAGE/NAME: all that is durable about one run, readable without any server.

run.json      who it is: format number, name, created, newest attempt
spec.json     the spec, canonical, never changed
status.json   the newest RunState
data.json     what an own scan of the sources found; only in a run that was scanned
owner         id of the service's run that it belongs to; not there in one that `tumbler run` made
orders.json   what the service wishes of the living attempt
service.beat  touched every few seconds by the service that follows the run
outbox/       journals of events, metrics, ledger and chain, beside logs/ and checkpoints/
"""

import shutil
import uuid
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.disk import replace_text, storage_errors
from orchestrator.domain.errors import RunExists, RunNotFound, SpecError, StorageError
from orchestrator.domain.events import timestamp
from orchestrator.domain.json_files import read_model
from orchestrator.domain.orders import Orders
from orchestrator.domain.pinned_data import PinnedData
from orchestrator.domain.run_search import RECORD_NAME, find_run
from orchestrator.domain.sealed_journal import Tip
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_differences import NOT_COMPARED, NOT_COMPARED_OF_TASKS, spec_differences
from orchestrator.domain.spec_parts import CheckpointSpec
from orchestrator.domain.spec_problems import examine
from orchestrator.domain.status import EndReason, RunStatus

_FORMAT: Final = 1
_KEPT: Final = {"run", "started", "step", "total_steps", "checkpoint", "parameters_sha256", "step_s", "tips"}


def storage_path(uri: str) -> Path:
    """The folder that a storage URI names: `file://./runs`, `file:///abs` or a plain path.

    `~` is the home folder; a relative path stays relative. Raises SpecError for any other scheme.
    """
    part, problems = examine(CheckpointSpec, {"storage": uri})
    if part is None:
        raise SpecError(problems)
    return part.storage_path.expanduser()


class RunState(BaseModel):
    """Where a run stands. Times are RFC 3339 in UTC, as `events.timestamp` makes them."""

    # JSON has no NaN; as a string it survives, and a loss that became NaN is worth showing.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    run: str
    attempt: int
    status: RunStatus
    reason: EndReason | None = None
    message: str = ""
    phase: str = ""
    """What a live run is at: `resizing`, `recovering`, `checkpointing`, `draining`, or empty."""
    started: str | None = None
    updated: str
    ended: str | None = None
    step: int = 0
    """The newest step done."""
    total_steps: int | None = None
    """None until the number of rows is known."""
    workers: int = 0
    generation: int = 0
    metrics: dict[str, float] = {}
    checkpoint: str | None = None
    """Path of the newest committed checkpoint."""
    parameters_sha256: str | None = None
    step_s: dict[int, float] = {}
    """World size -> seconds of a step with so many workers, a running mean over all attempts."""
    tips: dict[str, Tip] = {}
    """Of the sealed journals, `ledger` and `chain`: the newest record that this state knows of."""


class RunRecord(BaseModel):
    """What run.json holds."""

    model_config = ConfigDict(frozen=True)

    format: int
    name: str
    created: str
    attempt: int


class RunDirectory:
    """The paths and small files of one run. The constructor trusts `path`; `create` and `open` check it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls, storage: Path, spec: RunSpec, *, resume: bool = False, now: datetime | None = None
    ) -> Self:
        """Makes the directory of a new run, whole or not at all; `resume` begins an old run's next attempt.

        Raises RunExists where the name is taken, or is resumed with another spec (other workers will do for a
        task); RunNotFound where there is nothing to resume; StorageError.
        """
        run = cls(storage / str(spec.name))
        if resume:
            return run._resume(spec, timestamp(now))
        return run._make(spec, timestamp(now), owner=None)

    @classmethod
    def begin(cls, storage: Path, spec: RunSpec, attempt: int, *, owner: str | None = None) -> Self:
        """Sees to it that the directory is there, at `attempt` or beyond; calling it again changes nothing.

        `owner` is the id of the service's run. Raises RunExists where the name is taken: by another owner, or
        with a spec that differs in more than its workers; StorageError.
        """
        run = cls(storage / str(spec.name))
        if not run._record_path.is_file():
            run._make(spec, timestamp(), owner)
        else:
            run._check_owner(owner)
            run._check_spec(spec, but=NOT_COMPARED | {"workers"})
        if run.record().attempt < attempt:
            run._next_attempt(attempt, timestamp())
        return run

    @classmethod
    def open(cls, path_or_name: str | Path, storage: Path | None = None) -> Self:
        """The run at a path, or in `storage` by its name or a unique prefix of it.

        Raises RunNotFound; StorageError where it was written by a later version.
        """
        run = cls(find_run(path_or_name, storage))
        run.record()
        return run

    @property
    def name(self) -> str:
        return self.path.absolute().name

    @property
    def spec_path(self) -> Path:
        return self.path / "spec.json"

    @property
    def status_path(self) -> Path:
        return self.path / "status.json"

    @property
    def data_path(self) -> Path:
        return self.path / "data.json"

    @property
    def outbox(self) -> Path:
        """The folder of all journals of the run."""
        return self.path / "outbox"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def orders_path(self) -> Path:
        return self.path / "orders.json"

    @property
    def beat_path(self) -> Path:
        return self.path / "service.beat"

    def record(self) -> RunRecord:
        """Raises StorageError where it is broken or of a later format."""
        record = read_model(self._record_path, RunRecord)
        if record.format > _FORMAT:
            raise StorageError(
                f"{self.path} was written in format {record.format} and this version reads up to {_FORMAT}",
                hint="upgrade Tumbler to read it",
            )
        return record

    def spec(self) -> RunSpec:
        """Raises StorageError where it is broken."""
        return read_model(self.spec_path, RunSpec)

    def read_status(self) -> RunState:
        """Raises StorageError where it is broken."""
        return read_model(self.status_path, RunState)

    def read_data(self) -> PinnedData | None:
        """None where the sources were not scanned. Raises StorageError where it is broken."""
        return read_model(self.data_path, PinnedData) if self.data_path.is_file() else None

    def write_status(self, state: RunState) -> None:
        """Replaces the status atomically; a terminal one is on the disk when this returns.

        Raises StorageError, also for a state of an older attempt than the newest: a zombie changes nothing.
        """
        newest = self.record().attempt
        if state.attempt < newest:
            raise StorageError(
                f"attempt {state.attempt} of run {state.run} was superseded by attempt {newest}",
                hint="the newer attempt owns the run; stop this one",
            )
        replace_text(self.status_path, state.model_dump_json(indent=2), durable=state.status.terminal)

    def read_orders(self) -> Orders | None:
        """None where the service gave none. Raises StorageError where they are broken."""
        return read_model(self.orders_path, Orders) if self.orders_path.is_file() else None

    def write_orders(self, orders: Orders) -> None:
        """Replaces the orders atomically. Raises StorageError."""
        replace_text(self.orders_path, orders.model_dump_json())

    def beat(self) -> None:
        """Shows that the service lives. Raises StorageError."""
        with storage_errors("write", self.beat_path):
            self.beat_path.touch()

    @property
    def _record_path(self) -> Path:
        return self.path / RECORD_NAME

    @property
    def _owner_path(self) -> Path:
        return self.path / "owner"

    def _make(self, spec: RunSpec, now: str, owner: str | None) -> Self:
        aside = type(self)(self.path.with_name(f".{self.name}.{uuid.uuid4().hex}"))
        try:
            with storage_errors("create", self.path):
                for folder in (aside.path, aside.outbox, aside.logs, aside.checkpoints):
                    folder.mkdir(parents=True)
            record = RunRecord(format=_FORMAT, name=self.name, created=now, attempt=1)
            replace_text(aside.spec_path, spec.canonical_json())
            if owner is not None:
                replace_text(aside._owner_path, owner)
            aside._begin(record, RunState(run=self.name, attempt=1, status=RunStatus.QUEUED, updated=now))
            self._claim(aside.path)
        except BaseException:
            shutil.rmtree(aside.path, ignore_errors=True)
            raise
        return self

    def _begin(self, record: RunRecord, state: RunState) -> None:
        # The record first: from then on an older attempt can no longer write its status.
        replace_text(self._record_path, record.model_dump_json(indent=2))
        replace_text(self.status_path, state.model_dump_json(indent=2))

    def _claim(self, aside: Path) -> None:
        """Puts a finished directory in its place: of several that try, one succeeds."""
        try:
            with storage_errors("create", self.path):
                aside.rename(self.path)
        except StorageError as error:
            if not self.path.exists():
                raise
            hint = "add --resume to go on with it, or choose another name"
            raise RunExists(f"run '{self.name}' already exists in {self.path.parent}", hint=hint) from error

    def _resume(self, spec: RunSpec, now: str) -> Self:
        if not self._record_path.is_file():
            raise RunNotFound(
                f"there is no run '{self.name}' in {self.path.parent} to resume",
                hint="leave out --resume to start it",
            )
        self._check_spec(spec, but=NOT_COMPARED if spec.task is None else NOT_COMPARED_OF_TASKS)
        self._next_attempt(self.record().attempt + 1, now)
        return self

    def _check_spec(self, spec: RunSpec, but: frozenset[str]) -> None:
        changed = ", ".join(spec_differences(self.spec(), spec, but=but))
        if changed:
            hint = "resume with the spec it was started with, or choose another name"
            raise RunExists(f"run '{self.name}' was started with another spec: {changed}", hint=hint)

    def _check_owner(self, owner: str | None) -> None:
        with storage_errors("read", self._owner_path):
            known = self._owner_path.read_text() if self._owner_path.is_file() else None
        if owner not in (None, known):
            raise RunExists(
                f"the directory of another run '{self.name}' is in {self.path.parent}",
                hint="choose another name, or move the directory away",
            )

    def _next_attempt(self, attempt: int, now: str) -> None:
        record, state = self.record(), self.read_status()
        # How far it came stays; how the last attempt ended does not.
        kept = state.model_dump(include=_KEPT)
        self._begin(
            record.model_copy(update={"attempt": attempt}),
            RunState(**kept, attempt=attempt, status=RunStatus.QUEUED, updated=now),
        )
