"""Events, metrics and logs of a run, as the service has them."""

from collections.abc import Iterator, Sequence
from typing import Any

from api.cli.output import tell
from api.client import Client
from api.client_types import EventInfo, LogLine, points_of
from orchestrator.domain.errors import RunNotFound

_LOOK_EVERY_S = 0.3
_MOST_LINES = 10_000
_MOST_POINTS = 100_000
"""What the service gives in one answer."""


def events_of(service: Client, reference: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    """All so far, as the journal of a run has them; then each new one until the run has ended."""
    seq = 0
    while True:
        ended = not follow or service.run(reference).over
        for event in service.events(reference, after=seq):
            seq = event.seq
            yield flat(event)
        if ended:
            return
        service.sleep(_LOOK_EVERY_S)


def flat(event: EventInfo) -> dict[str, Any]:
    """With its facts beside its message, as events lie in a journal."""
    content = event.content()
    facts = content.pop("facts", {})
    return {**content, **{name: value for name, value in facts.items() if name not in content}}


def points(
    service: Client, reference: str, keys: Sequence[str], max_points: int | None
) -> list[dict[str, Any]]:
    return points_of(service.metrics(reference, keys=keys, max_points=max_points or _MOST_POINTS))


def put_logs(
    service: Client,
    reference: str,
    *,
    follow: bool,
    worker: str | None,
    attempt: int | None,
    tail: int | None,
) -> None:
    """Print what the workers said; each line says whose it is, unless one worker was asked for."""
    cursor, shown = None, 0
    while True:
        ended = not follow or service.run(reference).over
        limit = tail if cursor is None else None
        page = service.logs(
            reference, worker=worker, attempt=attempt, tail=limit or _MOST_LINES, since=cursor
        )
        for line in page.lines:
            print(_said(line, alone=worker is not None), flush=True)
        shown += len(page.lines)
        cursor = page.next or cursor
        if page.lines:
            continue  # there may be more
        if ended:
            break
        service.sleep(_LOOK_EVERY_S)
    if not shown:
        _explain_no_logs(service, reference, worker, attempt)


def _said(line: LogLine, *, alone: bool) -> str:
    text = line.text.rstrip("\n")
    return text if alone else f"{line.worker}: {text}"


def _explain_no_logs(service: Client, reference: str, worker: str | None, attempt: int | None) -> None:
    run = service.run(reference)
    known = sorted({line.worker for line in service.logs(reference, attempt=attempt, tail=1000).lines})
    if worker and known:
        raise RunNotFound(f"run '{run.name}' has no log of worker {worker}, it has {', '.join(known)}")
    if not run.attempt:
        tell(f"run '{run.name}' has not started yet")
        return
    tell(f"the workers of run '{run.name}' printed nothing in attempt {attempt or run.attempt}")
