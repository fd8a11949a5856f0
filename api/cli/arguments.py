"""Arguments that several commands share: each has one name and one meaning."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from api.cli.output import Format

Reference = Annotated[
    str,
    Parameter(
        name="RUN",
        help="Name or id of a run, or a unique prefix of one, or the path of a run directory.",
    ),
]
Storage = Annotated[
    Path,
    Parameter(name=["--storage"], env_var="TUMBLER_STORAGE", help="Folder in which runs lie."),
]
Folder = Annotated[
    Path | None,
    Parameter(
        name=["--storage"],
        help="Read the run directories in this folder, without a service. "
        "Where no service runs: TUMBLER_STORAGE, or ./runs.",
    ),
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

Force = Annotated[bool, Parameter(name=["--force"], negative="", help="Do not ask.")]

DEFAULT_STORAGE = Path("runs")
