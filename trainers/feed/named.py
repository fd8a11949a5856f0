"""Data sets by name: `dataset://NAME` stands for a source that was registered in a storage."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.disk import replace_text, storage_errors
from orchestrator.domain.errors import DataError
from orchestrator.domain.json_files import read_model
from orchestrator.domain.names import check_name
from orchestrator.domain.spec_fields import suggestion
from orchestrator.domain.spec_parts import split_scheme
from orchestrator.domain.spec_training import KNOWN_DATASETS, Format
from trainers.feed.recipe import Recipe

_FOLDER: Final = Path(".datasets", "names")


class NamedDataset(BaseModel):
    """What a name stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    """Absolute path, glob or URI."""
    format: Format = "text"
    about: str = ""


def registered(storage: Path) -> list[NamedDataset]:
    """All names of a storage, in order. Raises StorageError where an entry is broken."""
    return [read_model(path, NamedDataset) for path in sorted((storage / _FOLDER).glob("*.json"))]


def register(storage: Path, dataset: NamedDataset) -> None:
    """Gives a source a name, or the name another source.

    Raises DataError for a name that is no DNS label or that of a built-in data set, StorageError.
    """
    try:
        check_name(dataset.name)
    except ValueError as error:
        raise DataError(f"{dataset.name!r} is no name for a data set: {error}") from None
    if dataset.name in KNOWN_DATASETS:
        raise DataError(f"dataset://{dataset.name} is built in; choose another name")
    path = storage / _FOLDER / f"{dataset.name}.json"
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, dataset.model_dump_json(indent=2) + "\n")


def resolved(recipe: Recipe, storage: Path) -> Recipe:
    """The recipe with the source that its name stands for; as it is where it names no data set.

    Raises DataError for an unknown name, or where the recipe wants another format than was registered.
    """
    scheme, name = split_scheme(recipe.source)
    if scheme != "dataset" or name in KNOWN_DATASETS:
        return recipe
    known = {dataset.name: dataset for dataset in registered(storage)}
    if name not in known:
        names = [*KNOWN_DATASETS, *known]
        near = suggestion(name, names)
        fix = f"did you mean {near!r}?" if near else f"expected one of: {', '.join(names)}"
        raise DataError(
            f"unknown data set {name!r}, {fix}", hint="tumbler datasets add NAME SOURCE registers one."
        )
    found = known[name]
    if found.format != recipe.format:
        raise DataError(
            f"dataset://{name} is {found.format} and data.format is {recipe.format}; set it to {found.format}"
        )
    return replace(recipe, source=found.source)
