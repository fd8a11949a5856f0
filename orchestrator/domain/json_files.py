"""Small files that hold one JSON object each, read as a model."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import StorageError

_Model = TypeVar("_Model", bound=BaseModel)


def read_model(path: Path, model: type[_Model]) -> _Model:
    """Raises StorageError, with the path in it, where the file cannot be read or is broken."""
    with storage_errors("read", path):
        content = path.read_bytes()
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise StorageError(
            f"{path} is broken: {error.errors()[0]['msg']}", hint="bring the file back from a copy"
        ) from error
