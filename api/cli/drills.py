"""`tumbler chaos`: break something on purpose, and see it right itself."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt

from api.cli.arguments import Folder, Output, Reference
from api.cli.output import Format, put, tell
from api.cli.places import open_run
from cluster.faults import kill_worker as kill

chaos = App(name="chaos", help="Break something on purpose.")


@chaos.command
def kill_worker(
    run: Reference,
    /,
    *,
    worker: Annotated[str | None, Parameter(help="Id of the worker, such as w2.")] = None,
    rank: Annotated[NonNegativeInt | None, Parameter(help="Rank in the newest generation.")] = None,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> None:
    """SIGKILL one worker of a living run; any of them unless one is named."""
    found = open_run(run, storage)
    killed = asdict(kill(found, worker, rank))
    put(killed, killed, output)
    tell(f"watch it recover: tumbler events {found.path} --follow")
