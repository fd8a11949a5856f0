"""`tumbler events`, `metrics` and `logs`: what a run wrote down, while it lives and after."""

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from api.cli.arguments import Folder, Follow, Output, Reference
from api.cli.output import Columns, Format, number, put, put_line, tell
from api.cli.places import service_for, storage_or_default
from api.cli.served_records import events_of, points, put_logs
from api.history import Point, metrics_of, read_points, thin_out
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
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what happened to a run, oldest first.

    Parameters
    ----------
    kind
        Only events of this kind, such as worker-lost; may be repeated.
    """
    happened = _events(run, storage, follow)
    wanted = (event for event in happened if not kind or event["kind"] in kind)
    if follow:
        for event in wanted:
            _put_event(event, output)
        return
    found = list(wanted)
    rows = [(event["time"], event["kind"], event["message"]) for event in found]
    put(found, Columns(("time", "kind", "message"), rows, empty="nothing happened yet"), output)


def metrics(
    run: Reference,
    /,
    *,
    keys: str | None = None,
    max_points: PositiveInt | None = None,
    storage: Folder = None,
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
    wanted = [key.strip() for key in keys.split(",") if key.strip()] if keys else []
    limit = max_points or (_ROWS_ON_A_SCREEN if output is Format.TABLE else None)
    found = _points(run, storage, wanted, limit)
    known = list(dict.fromkeys(name for point in found for name in point if name != "step"))
    shown = wanted or [name for name in known if any(name in metrics_of(point) for point in found)]
    rows = [(point["step"], *(number(point.get(name)) for name in shown)) for point in found]
    content = [
        {name: point[name] for name in ("step", *(wanted or known)) if name in point} for point in found
    ]
    put(content, Columns(("step", *shown), rows, empty="no step was done yet"), output)


def logs(
    run: Reference,
    /,
    *,
    follow: Follow = False,
    worker: str | None = None,
    attempt: PositiveInt | None = None,
    tail: PositiveInt | None = None,
    storage: Folder = None,
) -> None:
    """Show what the workers of a run printed; with several of them each line says whose it is.

    Parameters
    ----------
    worker
        Only this one, such as w2.
    attempt
        Of this attempt instead of the newest.
    tail
        Begin with the last so many lines of each worker.
    """
    service = service_for(run, storage)
    if service is not None:
        with service:
            put_logs(service, run, follow=follow, worker=worker, attempt=attempt, tail=tail)
        return
    found = RunDirectory.open(run, storage_or_default(storage))
    number_of_attempt = attempt or found.record().attempt
    offsets: dict[Path, int] = {}
    while True:
        ended = not follow or found.read_status().status.terminal
        files = _log_files(found, number_of_attempt, worker)
        for path, line in _last_of_each(_new_lines(files, offsets, ended), tail):
            name = path.stem.partition("-")[2]
            print(line if worker or (len(files) == 1 and not follow) else f"{name}: {line}", flush=True)
        if ended:
            break
        tail = None
        time.sleep(_LOOK_EVERY_S)
    if not files:
        _explain_no_logs(found, number_of_attempt, worker)


def _events(run: str, storage: Path | None, follow: bool) -> Iterator[dict[str, Any]]:
    service = service_for(run, storage)
    if service is not None:
        with service:
            yield from events_of(service, run, follow=follow)
        return
    found = RunDirectory.open(run, storage_or_default(storage))
    yield from _as_they_come(found) if follow else read_journal(found.outbox, "events")


def _points(run: str, storage: Path | None, wanted: list[str], limit: int | None) -> list[Point]:
    """At most `limit` steps that have one of the wanted metrics; says which of these nobody measured."""
    service = service_for(run, storage)
    if service is not None:
        with service:
            found = points(service, run, wanted, limit)
    else:
        found = read_points(RunDirectory.open(run, storage_or_default(storage)))
    known = list(dict.fromkeys(name for point in found for name in point if name != "step"))
    for missing in sorted(set(wanted) - set(known)) if found else ():
        tell(f"no step has '{missing}'" + (f"; there are {', '.join(known)}" if known else ""))
    if wanted:
        found = [point for point in found if any(key in point for key in wanted)]
    return thin_out(found, limit) if limit else found


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


def _last_of_each(lines: Iterator[tuple[Path, str]], tail: int | None) -> Iterator[tuple[Path, str]]:
    if tail is None:
        return lines
    by_file: dict[Path, deque[str]] = {}
    for path, line in lines:
        by_file.setdefault(path, deque(maxlen=tail)).append(line)
    return ((path, line) for path, kept in by_file.items() for line in kept)


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
