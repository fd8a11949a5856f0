"""`tumbler checkpoint`: what of a run can be restored, whether it is whole, one more, and one to take
away."""

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt

from api.checkpoints import none_yet
from api.cli.arguments import Folder, Output, Reference
from api.cli.checkpoint_places import checkpoints_near, checkpoints_of_owner
from api.cli.output import Columns, Format, number, put, size, tell
from api.cli.verbs import confirmed
from orchestrator.domain.errors import CheckpointNotFound

checkpoint = App(name="checkpoint", help="The checkpoints of a run.")
checkpoint.command(
    "api.cli.checkpoint_export:export", name="export", help="Take the model of a checkpoint away."
)


@checkpoint.command
def ls(run: Reference, /, *, storage: Folder = None, output: Output = Format.TABLE) -> None:
    """List the committed checkpoints of a run, the newest first; none is read, `verify` does that."""
    with checkpoints_near(run, storage) as found:
        rows = found.rows()
    names = ["name", "size", "attempt", "metrics", "committed", "parameters sha256"]
    table = [
        [
            row["name"],
            "" if row.get("size") is None else size(row["size"]),
            row.get("attempt"),
            ", ".join(f"{name} {number(value)}" for name, value in (row.get("metrics") or {}).items()),
            row.get("committed"),
            row.get("parameters_sha256"),
        ]
        for row in rows
    ]
    if any(row.get("problem") for row in rows):
        names.append("problem")
        for shown, row in zip(table, rows, strict=True):
            shown.append(row.get("problem"))
    put(rows, Columns(names, table, empty="the run has no checkpoint yet"), output)


@checkpoint.command
def verify(
    run: Reference,
    step: Annotated[NonNegativeInt | None, Parameter(name="STEP")] = None,
    /,
    *,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> int:
    """Read the checkpoints of a run in full, the newest first, and say whether each is what was committed.

    Exits with 0 only where all of them are; else with 1.

    Parameters
    ----------
    step
        Only the checkpoint of this step.
    """
    results = []
    with checkpoints_near(run, storage) as found:
        steps = [row["step"] for row in found.rows()] if step is None else [step]
        if not steps:
            raise none_yet(found.name)
        for one in steps:
            try:
                result = found.check(one)
            except CheckpointNotFound:
                if step is None:
                    continue  # the run dropped it meanwhile
                raise
            results.append(result)
            if output is Format.TABLE:
                print(f"{result['name']}  {result['problem'] or 'ok'}", flush=True)
    if output is not Format.TABLE:
        put(results, {}, output)
    return 0 if all(result["problem"] is None for result in results) else 1


@checkpoint.command
def take(run: Reference, /, *, storage: Folder = None) -> None:
    """Take a checkpoint of a run of the service now, at its next step; training goes on meanwhile."""
    with checkpoints_of_owner(run, storage) as found:
        found.take()
        tell(
            f"{found.name} takes a checkpoint at its next step; `tumbler checkpoint ls {found.name}` lists it"
        )


@checkpoint.command
def rm(
    run: Reference,
    step: Annotated[NonNegativeInt, Parameter(name="STEP")],
    /,
    *,
    yes: Annotated[bool, Parameter(name=["--yes", "--force"], negative="", help="Do not ask.")] = False,
    storage: Folder = None,
) -> None:
    """Remove a checkpoint for good; not the newest of a run that is not over, which goes on from it.

    Parameters
    ----------
    step
        The step of the checkpoint.
    """
    with checkpoints_of_owner(run, storage) as found:
        if not confirmed(f"remove the checkpoint of step {step} of {found.name}?", yes):
            tell("nothing was removed")
            return
        found.remove(step)
        tell(f"removed the checkpoint of step {step} of {found.name}")
