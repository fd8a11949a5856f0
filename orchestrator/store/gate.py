"""The one gate through which runs are written: it checks status moves, counts versions and numbers events.

Pure, and shared by all records, so that no two of them can differ in it.
"""

from dataclasses import dataclass, replace
from typing import Final

from orchestrator.domain.runs import Change, Patience, Progress, Run, RunEvent
from orchestrator.domain.status import check_move

_NO_FACTS: Final = frozenset({"time", "kind", "message", "attempt", "seq"})
"""Of an event. Its `seq` is the number in the run directory; ours is another."""


@dataclass(frozen=True)
class Passed:
    """What may be written."""

    run: Run
    events: tuple[RunEvent, ...]


def admit(new: Change) -> Passed:
    """A run that is not there yet."""
    return _numbered(new.run, new, version=1, newest=0)


def move(old: Run, change: Change) -> Passed:
    """The next value of a run. Raises ValueError for an illegal move, and for a change of another run."""
    new = change.run
    if (new.id, new.name) != (old.id, old.name):
        raise ValueError(f"expected a change of run {old.id} ({old.name}), got {new.id} ({new.name})")
    if new.status is not old.status:
        check_move(old.status, new.status)
    counts = _without_progress(new) != _without_progress(old)
    return _numbered(new, change, version=old.version + counts, newest=old.event_seq)


def _without_progress(run: Run) -> Run:
    """What the version counts. Patience is spent where the status moves, and else only follows the steps."""
    return replace(
        run,
        progress=Progress(),
        patience=Patience(),
        outbox_seq=0,
        event_seq=0,
        target=0,
        phase="",
        updated="",
        version=0,
    )


def _numbered(run: Run, change: Change, *, version: int, newest: int) -> Passed:
    events = tuple(
        RunEvent(
            run_id=run.id,
            seq=seq,
            time=event["time"],
            kind=event["kind"],
            message=event["message"],
            attempt=event.get("attempt", run.attempt),
            facts={name: value for name, value in event.items() if name not in _NO_FACTS},
        )
        for seq, event in enumerate(change.events, start=newest + 1)
    )
    return Passed(replace(run, version=version, event_seq=newest + len(events)), events)
