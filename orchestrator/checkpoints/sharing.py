"""Whether a worker sees what its controller sees: the run directory, and the place of its checkpoints.

A folder of the same name on another node would take the worker's parts, and nobody would ever find them.
"""

from pathlib import Path
from typing import Final

from orchestrator.checkpoints.places import Place, place_of
from orchestrator.domain.errors import Problem, SpecError
from orchestrator.domain.run_search import RECORD_NAME
from orchestrator.domain.spec import CheckpointSpec

_MARK: Final = ".attempt-{:04d}"


def leave_mark(place: Place, attempt: int) -> None:
    """By the controller, before any worker looks for it. Raises StorageError."""
    place.write(_MARK.format(attempt), b"")
    place.remove(_MARK.format(attempt - 1))


def check_shared(checkpoint: CheckpointSpec, run_folder: Path, attempt: int, host: str) -> None:
    """By a worker on `host`. Raises SpecError, one sentence, where it sees something else; StorageError."""
    place = place_of(checkpoint.checkpoints_of(run_folder))
    if not (run_folder / RECORD_NAME).is_file():
        raise SpecError([Problem("checkpoint.storage", _sentence(str(run_folder), host))])
    if place.size(_MARK.format(attempt)) is None:
        where = "location" if checkpoint.location is not None else "storage"
        raise SpecError([Problem(f"checkpoint.{where}", _sentence(place.describe(""), host))])


def _sentence(path: str, host: str) -> str:
    return f"{path} on node {host} is not what the controller of the run sees; all nodes must share it"
