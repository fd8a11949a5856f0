"""Who is asked about a run: its directory, or the service. The one place where that is chosen."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.cli.arguments import DEFAULT_STORAGE
from api.cli.processes import is_alive
from api.client import Client
from api.client_types import RunInfo
from orchestrator.domain.errors import RunNotFound, ServiceUnreachable
from orchestrator.domain.run_directory import RunDirectory


@dataclass(frozen=True)
class ServiceRecord:
    """A service of this machine that lives."""

    pid: int
    url: str
    ray_address: str = ""
    started: float | None = None
    """When the process began, in clock ticks since the machine did; None where that is not known."""


def is_path(reference: str) -> bool:
    """Whether a reference can only mean a run directory."""
    separators = {os.sep, os.altsep} - {None}
    return any(sign in reference for sign in separators if sign) or (Path(reference) / "run.json").is_file()


def service_for(reference: str, storage: Path | None) -> Client | None:
    """The service to ask, or None where run directories are to be read.

    Directories: a path, or `--storage`. Else the service that TUMBLER_URL or the settings name, whether it
    answers or not; else that of this machine's home, if one runs; else directories.
    """
    if storage is not None or (reference and is_path(reference)):
        return None
    return find_service()


def need_service() -> Client:
    """For what only a service can do. Raises ServiceUnreachable where there is none."""
    found = find_service()
    if found is None:
        raise ServiceUnreachable(
            "no service runs here", hint="start one with `tumbler up`, or name one with TUMBLER_URL"
        )
    return found


def find_service() -> Client | None:
    from api.settings import Settings  # a tenth of a second, which reading a directory need not wait for

    settings = Settings.load()
    if settings.url:
        return Client(settings.url)
    record = living_service(settings.service_file)
    return Client(record.url) if record else None


def living_service(file: Path) -> ServiceRecord | None:
    """Who serves, as the service wrote it down; None where nobody does, or that is out of date."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        record = ServiceRecord(
            int(found["pid"]),
            str(found["url"]),
            str(found.get("ray_address") or ""),
            found.get("started_ticks"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if is_alive(record.pid, record.started, calls="api.server") else None


def storage_or_default(storage: Path | None) -> Path:
    """Where run directories lie: as told, by TUMBLER_STORAGE, or ./runs."""
    return (storage or Path(os.environ.get("TUMBLER_STORAGE") or DEFAULT_STORAGE)).expanduser()


def open_run(reference: str, storage: Path | None) -> RunDirectory:
    """The run directory that a reference means, wherever it is known.

    Raises RunNotFound; StorageError where a later version wrote it; ServiceUnreachable.
    """
    service = service_for(reference, storage)
    if service is None:
        return RunDirectory.open(reference, storage_or_default(storage))
    with service:
        run = service.run(reference)
    seen = seen_directory(run)
    if seen is None:
        raise RunNotFound(
            f"the directory of run '{run.name}' cannot be seen from here: {run.path}",
            hint="it is made when the run starts; on another machine, mount the storage of the service",
        )
    return seen


def seen_directory(run: RunInfo) -> RunDirectory | None:
    """The directory of a run of the service, if it is there and this machine sees it."""
    if run.path is None or not (Path(run.path) / "run.json").is_file():
        return None
    return RunDirectory.open(run.path)
