"""What is done to a run of the service: `scale pause resume cancel retry clone patch rm`."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from api.cli.arguments import Force, Output, Overrides
from api.cli.errors import Usage
from api.cli.output import Format, put, tell
from api.cli.places import need_service
from api.cli.served_runs import lines_about, workers_of
from api.client import Client
from api.client_types import RunInfo
from orchestrator.domain.spec_text import read_text

_RANGE = re.compile(r"([0-9]{1,6})(?::([0-9]{1,6}))?")
Served = Annotated[str, Parameter(name="RUN", help="Name or id of a run, or a unique prefix of one.")]


def pause(run: Served, /, *, output: Output = Format.TABLE) -> None:
    """Stop a run at the next step with a last checkpoint, and keep it; `resume` goes on from there."""
    _act(output, lambda service: service.pause(run))


def resume(run: Served, /, *, output: Output = Format.TABLE) -> None:
    """Put a paused run back into the queue; it goes on from its newest checkpoint."""
    _act(output, lambda service: service.resume(run))


def cancel(run: Served, /, *, output: Output = Format.TABLE) -> None:
    """End a run for good, at the next step and with a last checkpoint; `wait` tells when it has."""
    _act(output, lambda service: service.cancel(run))


def scale(run: Served, workers: str, /, *, output: Output = Format.TABLE) -> None:
    """Give a run another number of workers, while it trains; the result stays the same, bit for bit.

    Parameters
    ----------
    workers
        At most so many, such as 3, or new bounds such as 2:4.
    """
    _act(output, lambda service: service.scale(run, _workers(workers)))


def retry(run: Served, /, *, output: Output = Format.TABLE) -> None:
    """Do again what a failed or cancelled run did, as a new run."""
    _act(output, lambda service: service.retry(run))


def clone(
    run: Served,
    /,
    *,
    name: str | None = None,
    overrides: Overrides = (),
    output: Output = Format.TABLE,
) -> None:
    """Start a new run from the spec of another, with overrides.

    Parameters
    ----------
    name
        Of the new run; made up unless given.
    """
    changes = dict(map(_override, overrides))
    _act(output, lambda service: service.clone(run, name=name, overrides=changes))


def patch(run: Served, /, *changes: str, output: Output = Format.TABLE) -> None:
    """Change labels, priority or workers of a run, as KEY=VALUE; KEY- takes a label away.

    For example: tumbler patch RUN priority=70 labels.team=nlp labels.draft- workers=1:4
    """
    if not changes:
        raise Usage(
            "expected what to change, such as priority=70, labels.team=nlp, labels.draft- or workers=1:4"
        )
    wish = _merge_patch(changes)
    # What was typed does not depend on what the run was before, so no version is asked for.
    _act(output, lambda service: service.patch(run, wish))


def rm(
    *runs: Served,
    keep_files: Annotated[bool, Parameter(negative="")] = False,
    force: Force = False,
) -> None:
    """Forget runs that have ended, and remove their run directories with all checkpoints.

    Parameters
    ----------
    keep_files
        Leave the run directories where they are.
    """
    if not runs:
        raise Usage("expected the runs to remove")
    with need_service() as service:
        found = [service.run(run) for run in runs]
        names = ", ".join(run.name for run in found)
        what = f"{names} from the record" if keep_files else f"{names} with all checkpoints"
        if not confirmed(f"remove {what}?", force):
            tell("nothing was removed")
            return
        for run in found:
            service.delete(run.id, keep_files=keep_files)
            tell(f"removed {run.name}" + (f", its files stay in {run.path}" if keep_files else ""))


def confirmed(question: str, force: bool) -> bool:
    """Whether the person at the terminal wants it. Raises Usage where there is nobody to ask."""
    if force:
        return True
    if not sys.stdin.isatty():
        raise Usage(f"{question} Nobody is there to ask", hint="add --force if you mean it")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # stdout is for results
    return input().strip().lower() in ("y", "yes")


def _act(output: Format, verb: Callable[[Client], RunInfo]) -> None:
    with need_service() as service:
        run = verb(service)
    if output is not Format.TABLE:
        put(run.content(), lines_about(run), output)
        return
    workers = workers_of(run)
    print(f"{run.name} is {run.status}" + (f" with {workers} workers" if workers else ""), flush=True)


def _workers(text: str) -> int | dict[str, int]:
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        raise Usage(f"expected a number of workers such as 3, or bounds such as 2:4, got '{text}'")
    return int(found[1]) if found[2] is None else {"min": int(found[1]), "max": int(found[2])}


def _merge_patch(changes: Sequence[str]) -> Mapping[str, Any]:
    wish: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        section, _, label = key.strip().partition(".")
        match section:
            case "labels" if label and not equals and label.endswith("-"):
                wish.setdefault("labels", {})[label[:-1]] = None
            case "labels" if label and equals:
                wish.setdefault("labels", {})[label] = text
            case "priority" if equals and not label:
                wish["priority"] = _override(change)[1]
            case "workers" if equals and not label:
                wish["workers"] = _workers(text)
            case "workers" if equals and label in ("min", "max"):
                wish.setdefault("workers", {})[label] = _override(change)[1]
            case _:
                raise Usage(
                    f"cannot change '{change}'",
                    hint="expected priority=70, labels.team=nlp, labels.draft-, workers=3 or workers=1:4",
                )
    return wish


def _override(typed: str) -> tuple[str, Any]:
    """The value is read by the rules of a spec file."""
    key, equals, text = typed.partition("=")
    if not equals or not key.strip():
        raise Usage(f"expected KEY=VALUE such as train.steps=50, got '{typed}'")
    return key.strip(), read_text(f"value: {text}", typed).values["value"] if text.strip() else ""
