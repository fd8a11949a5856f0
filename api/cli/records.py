"""`tumbler events`, `metrics` and `logs`: what a run wrote down, while it lives and after."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from api.cli.arguments import DEFAULT_STORAGE, Follow, Output, Reference, Storage, open_run
from api.cli.output import Columns, Format, number, put, put_line, tell
from api.history import metrics_of, read_points, thin_out
from orchestrator.domain.errors import RunNotFound
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory

_LOOK_EVERY_S = 0.3
_ROWS_ON_A_SCREEN = 20


def events(
    run: Reference,
    /,
    *,
    follow: Follow = False,
    kind: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    storage: Storage = DEFAULT_STORAGE,
    output: Output = Format.TABLE,
) -> None:
    """Show what happened to a run, oldest first.

    Parameters
    ----------
    kind
        Only events of this kind, such as worker-lost; may be repeated.
    """
    found = open_run(run, storage)
    if not follow:
        wanted = [
            event for event in read_journal(found.outbox, "events") if not kind or event["kind"] in kind
        ]
        rows = [(event["time"], event["kind"], event["message"]) for event in wanted]
        put(wanted, Columns(("time", "kind", "message"), rows, empty="nothing happened yet"), output)
        return
    for event in _as_they_come(found):
        if not kind or event["kind"] in kind:
            _put_event(event, output)


def metrics(
    run: Reference,
    /,
    *,
    keys: str | None = None,
    max_points: PositiveInt | None = None,
    storage: Storage = DEFAULT_STORAGE,
    output: Output = Format.TABLE,
) -> None:
    """Show the metrics of a run by step.

    Parameters
    ----------
    keys
        Only these, separated by commas, such as loss,val_loss.
    max_points
        At most so many steps, evenly spread; a table shows 20 unless told otherwise, JSON all.
    """
    points = read_points(open_run(run, storage))
    known = list(dict.fromkeys(name for point in points for name in point if name != "step"))
    wanted = [key.strip() for key in keys.split(",") if key.strip()] if keys else None
    for missing in sorted(set(wanted or ()) - set(known)) if points else ():
        tell(f"no step has '{missing}'; there are {', '.join(known)}")
    if wanted is not None:
        points = [point for point in points if any(key in point for key in wanted)]
    limit = max_points or (_ROWS_ON_A_SCREEN if output is Format.TABLE else len(points))
    points = thin_out(points, max(1, limit))
    shown = wanted or [name for name in known if any(name in metrics_of(point) for point in points)]
    rows = [(point["step"], *(number(point.get(name)) for name in shown)) for point in points]
    content = [
        {name: point[name] for name in ("step", *(wanted or known)) if name in point} for point in points
    ]
    put(content, Columns(("step", *shown), rows, empty="no step was done yet"), output)


def logs(
    run: Reference,
    /,
    *,
    follow: Follow = False,
    worker: str | None = None,
    attempt: PositiveInt | None = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Show what the workers of a run printed; with several of them each line says whose it is.

    Parameters
    ----------
    worker
        Only this one, such as w2.
    attempt
        Of this attempt instead of the newest.
    """
    found = open_run(run, storage)
    number_of_attempt = attempt or found.record().attempt
    offsets: dict[Path, int] = {}
    while True:
        ended = not follow or found.read_status().status.terminal
        files = _log_files(found, number_of_attempt, worker)
        for path, line in _new_lines(files, offsets, ended):
            name = path.stem.partition("-")[2]
            print(line if worker or (len(files) == 1 and not follow) else f"{name}: {line}", flush=True)
        if ended:
            break
        time.sleep(_LOOK_EVERY_S)
    if not files:
        _explain_no_logs(found, number_of_attempt, worker)


def _explain_no_logs(run: RunDirectory, attempt: int, worker: str | None) -> None:
    known = sorted(path.stem.partition("-")[2] for path in _log_files(run, attempt, None))
    if worker and known:
        raise RunNotFound(
            f"run '{run.name}' has no log of worker {worker} in attempt {attempt}, it has {', '.join(known)}"
        )
    tell(f"the workers of run '{run.name}' printed nothing in attempt {attempt}")


def _as_they_come(run: RunDirectory) -> Iterator[dict[str, Any]]:
    """All events so far, then each new one, until the run has ended."""
    seq = 0
    while True:
        ended = run.read_status().status.terminal
        for event in read_journal(run.outbox, "events", after_seq=seq):
            seq = event["seq"]
            yield event
        if ended:
            return
        time.sleep(_LOOK_EVERY_S)


def _put_event(event: dict[str, Any], output: Format) -> None:
    if output is Format.TABLE:
        print(f"{event['time']}  {event['kind']:<20}  {event['message']}", flush=True)
    else:
        put_line(event)  # JSON on one line is YAML too


def _log_files(run: RunDirectory, attempt: int, worker: str | None) -> list[Path]:
    return sorted(run.logs.glob(f"{attempt}-{worker or '*'}.log"))


def _new_lines(files: list[Path], offsets: dict[Path, int], ended: bool) -> Iterator[tuple[Path, str]]:
    """Whole lines that were added since the last look; at the end the torn one too."""
    for path in files:
        with path.open("rb") as file:
            file.seek(offsets.get(path, 0))
            content = file.read()
        whole = content if ended else content[: content.rfind(b"\n") + 1]
        offsets[path] = offsets.get(path, 0) + len(whole)
        yield from ((path, line) for line in whole.decode(errors="replace").splitlines())
