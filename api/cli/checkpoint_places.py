"""The checkpoints of a run for the commands: in a directory that this machine sees, or over the service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from api.checkpoints import (
    check_checkpoint,
    checkpoints_of,
    find_checkpoint,
    list_checkpoints,
    remove_checkpoint,
)
from api.cli.bars import bytes_bar, waiting
from api.cli.places import seen_directory, service_for, storage_or_default
from api.client import Client
from api.client_types import RunInfo
from orchestrator.domain.errors import WrongStatus
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec


class Checkpoints(Protocol):
    """Those of one run. What is shown has the fields that the service shows.

    All raise CheckpointNotFound for a step that has none, and StorageError.
    """

    @property
    def name(self) -> str:
        """Of the run."""
        ...

    def spec(self) -> RunSpec: ...

    def rows(self) -> list[dict[str, Any]]:
        """All of them, the newest first; none is read."""
        ...

    def check(self, step: int) -> dict[str, Any]:
        """Reads all of it; `problem` is None where it is whole."""
        ...

    def take(self) -> None:
        """At the next step. Raises WrongStatus where nobody can ask the run for one."""
        ...

    def remove(self, step: int) -> None:
        """Raises WrongStatus where the run still needs it."""
        ...

    def export(self, step: int, folder: Path) -> list[str]:
        """Write its model into an empty folder; returns what is to be said. Raises CheckpointError where it
        is damaged."""
        ...


class CheckpointsHere:
    """In a run directory."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self.name = run.name

    def spec(self) -> RunSpec:
        return self._run.spec()

    def rows(self) -> list[dict[str, Any]]:
        return [row.content() for row in list_checkpoints(self._run)]

    def check(self, step: int) -> dict[str, Any]:
        return check_checkpoint(self._run, step).content()

    def take(self) -> None:
        every = self.spec().checkpoint.every
        raise WrongStatus(
            f"only a service asks a run for a checkpoint; without one {self.name} takes it every {every}"
            " steps, and a last one on Ctrl-C",
            hint="`tumbler up` and `tumbler submit` give a run to a service",
        )

    def remove(self, step: int) -> None:
        remove_checkpoint(self._run, step, over=self._run.read_status().status.terminal)

    def export(self, step: int, folder: Path) -> list[str]:
        catalog = checkpoints_of(self._run)
        manifest = catalog.read(find_checkpoint(self._run, step))
        # Some seconds, which a step that is not there need not wait for.
        from trainers.checkpoints.export import export_model

        with waiting(f"exporting step {step}"):
            return export_model(self._run, catalog.place, manifest, folder)


class CheckpointsServed:
    """Of a run of the service."""

    def __init__(self, service: Client, run: RunInfo) -> None:
        self._service = service
        self.run = run
        self.name = run.name

    def spec(self) -> RunSpec:
        return RunSpec.parse(self.run.spec or {})

    def rows(self) -> list[dict[str, Any]]:
        return self._service.checkpoints(self.run.id)

    def check(self, step: int) -> dict[str, Any]:
        return self._service.verify_checkpoint(self.run.id, step)

    def take(self) -> None:
        self._service.take_checkpoint(self.run.id)

    def remove(self, step: int) -> None:
        self._service.delete_checkpoint(self.run.id, step)

    def export(self, step: int, folder: Path) -> list[str]:
        with bytes_bar("fetching the model", None) as came:
            self._service.export_checkpoint(self.run.id, step, folder, came=came)
        return []


@contextmanager
def checkpoints_near(reference: str, storage: Path | None) -> Iterator[Checkpoints]:
    """For what only reads: from the run directory wherever this machine sees it.

    Raises RunNotFound, ServiceUnreachable, StorageError.
    """
    with checkpoints_of_owner(reference, storage) as found:
        seen = seen_directory(found.run) if isinstance(found, CheckpointsServed) else None
        yield found if seen is None else CheckpointsHere(seen)


@contextmanager
def checkpoints_of_owner(reference: str, storage: Path | None) -> Iterator[Checkpoints]:
    """For what changes something: the service decides about the runs that it knows.

    Raises RunNotFound, ServiceUnreachable, StorageError.
    """
    service = service_for(reference, storage)
    if service is None:
        yield CheckpointsHere(RunDirectory.open(reference, storage_or_default(storage)))
        return
    with service:
        yield CheckpointsServed(service, service.run(reference))
