"""Arguments that several commands share: each has one name and one meaning."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from api.cli.output import Format
from orchestrator.domain.run_directory import RunDirectory

Reference = Annotated[
    str,
    Parameter(
        name="RUN",
        help="Path of a run directory, or a name in the storage folder, or a unique prefix of one.",
    ),
]
Storage = Annotated[
    Path,
    Parameter(name=["--storage"], env_var="TUMBLER_STORAGE", help="Folder in which runs lie."),
]
Output = Annotated[Format, Parameter(name=["--output", "-o"], help="How to print the result.")]
SpecFile = Annotated[Path, Parameter(name=["--file", "-f"], help="The run spec, YAML or JSON.")]
Overrides = Annotated[
    tuple[str, ...],
    Parameter(name="--set", negative="", help="Override KEY=VALUE, such as train.steps=50; may be repeated."),
]
Follow = Annotated[
    bool, Parameter(name=["--follow"], alias="-f", negative="", help="Go on until the run ends.")
]

DEFAULT_STORAGE = Path("runs")


def open_run(reference: str, storage: Path) -> RunDirectory:
    """Raises RunNotFound; StorageError where a later version wrote it."""
    return RunDirectory.open(reference, storage.expanduser())
