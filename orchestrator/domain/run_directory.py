"""The run directory, STORAGE/NAME: all that is durable about one run, readable without any server.

run.json      who it is: format number, name, created, newest attempt
spec.json     the spec, canonical, never changed
status.json   the newest RunState
outbox/       journals of events, metrics, ledger and chain
logs/ checkpoints/
"""

import difflib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.domain.disk import replace_text, storage_errors
from orchestrator.domain.errors import RunExists, RunNotFound, SpecError, StorageError
from orchestrator.domain.events import timestamp
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_parts import CheckpointSpec
from orchestrator.domain.spec_problems import examine
from orchestrator.domain.status import EndReason, RunStatus

_FORMAT = 1
_NOT_COMPARED = ("name", "labels", "queue", "priority")
_Model = TypeVar("_Model", bound=BaseModel)


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

        Raises RunExists where the name is taken, or is resumed with a spec of another fingerprint;
        RunNotFound where there is nothing to resume; StorageError.
        """
        run = cls(storage / str(spec.name))
        if resume:
            return run._resume(spec, timestamp(now))
        aside = storage / f".{run.name}.{uuid.uuid4().hex}"
        try:
            with storage_errors("create", run.path):
                for folder in (aside, cls(aside).outbox, cls(aside).logs, cls(aside).checkpoints):
                    folder.mkdir(parents=True)
            record = RunRecord(format=_FORMAT, name=run.name, created=timestamp(now), attempt=1)
            replace_text(cls(aside).spec_path, spec.canonical_json())
            cls(aside)._begin(
                record, RunState(run=run.name, attempt=1, status=RunStatus.QUEUED, updated=record.created)
            )
            run._claim(aside)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        return run

    @classmethod
    def open(cls, path_or_name: str | Path, storage: Path | None = None) -> Self:
        """The run at a path, or in `storage` by its name or a unique prefix of it.

        Raises RunNotFound; StorageError where it was written by a later version.
        """
        known = {} if storage is None else {path.name: path for path in _runs_in(storage)}
        name = str(path_or_name)
        matches = [name] if name in known else [other for other in known if name and other.startswith(name)]
        if len(matches) > 1:
            raise RunNotFound(
                f"'{name}' could be any of {', '.join(sorted(matches))}", hint="type more of the name"
            )
        run = cls(known[matches[0]] if matches else Path(path_or_name))
        if not run._record_path.is_file():
            raise _not_found(name, storage, list(known))
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
    def outbox(self) -> Path:
        """The folder of all journals of the run."""
        return self.path / "outbox"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def record(self) -> RunRecord:
        """Raises StorageError where it is broken or of a later format."""
        record = _read(self._record_path, RunRecord)
        if record.format > _FORMAT:
            raise StorageError(
                f"{self.path} was written in format {record.format} and this version reads up to {_FORMAT}",
                hint="upgrade Tumbler to read it",
            )
        return record

    def spec(self) -> RunSpec:
        """Raises StorageError where it is broken."""
        return _read(self.spec_path, RunSpec)

    def read_status(self) -> RunState:
        """Raises StorageError where it is broken."""
        return _read(self.status_path, RunState)

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

    @property
    def _record_path(self) -> Path:
        return self.path / "run.json"

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
        old = self.spec()
        if old.fingerprint() != spec.fingerprint():
            changed = ", ".join(
                _differences(json.loads(old.canonical_json()), json.loads(spec.canonical_json()))
            )
            raise RunExists(
                f"run '{self.name}' was started with another spec: {changed}",
                hint="resume with the spec it was started with, or choose another name",
            )
        record, state = self.record(), self.read_status()
        attempt = record.attempt + 1
        # How far it came stays; how the last attempt ended does not.
        kept = state.model_dump(
            include={"run", "started", "step", "total_steps", "checkpoint", "parameters_sha256"}
        )
        self._begin(
            record.model_copy(update={"attempt": attempt}),
            RunState(**kept, attempt=attempt, status=RunStatus.QUEUED, updated=now),
        )
        return self


def _runs_in(storage: Path) -> list[Path]:
    with storage_errors("read", storage):
        return [path.parent for path in storage.glob("[!.]*/run.json")]


def _not_found(name: str, storage: Path | None, known: list[str]) -> RunNotFound:
    if storage is None:
        return RunNotFound(
            f"{name} is not a run directory, it holds no run.json", hint="give the path of a run"
        )
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else ""
    return RunNotFound(f"there is no run '{name}' in {storage}", hint=hint)


def _read(path: Path, model: type[_Model]) -> _Model:
    with storage_errors("read", path):
        content = path.read_bytes()
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise StorageError(
            f"{path} is broken: {error.errors()[0]['msg']}", hint="bring the file back from a copy"
        ) from error


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Such as `train.steps was 100 and is 200`, but for the fields that the fingerprint leaves out."""
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif before != after and prefix + key not in _NOT_COMPARED:
            yield f"{prefix}{key} was {before} and is {after}"
