"""What every record says in the same words when it refuses, and how it finds the run that a user means."""

import difflib
from collections.abc import Collection, Sequence
from typing import Final

from orchestrator.domain.errors import KeyReused, LeaseLost, RunExists, RunNotFound
from orchestrator.domain.runs import Run

MOST_NAMED: Final = 5
"""How many runs a refusal names."""
NEAR: Final = 3
"""How many first letters a name shares with what was probably meant."""


def run_exists(name: str) -> RunExists:
    return RunExists(f"run '{name}' already exists", hint="choose another name, or delete that run first")


def key_reused(key: str) -> KeyReused:
    return KeyReused(
        f"Idempotency-Key '{key}' came before with another request",
        hint="use a new key for each run, and the same only to send the same request again",
    )


def lease_lost() -> LeaseLost:
    return LeaseLost("another service acts on this record now, so this one must not write")


def no_run(reference: str, near: Collection[str] = ()) -> RunNotFound:
    close = difflib.get_close_matches(reference, near, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "`tumbler ls` lists those that there are"
    return RunNotFound(f"there is no run '{reference}'", hint=hint)


def the_run(reference: str, matches: Sequence[Run]) -> Run | None:
    """The one that is meant among those whose id or name begins with the reference; None where none does.

    Raises RunNotFound where it could be any of several.
    """
    for part in ("id", "name"):
        for run in matches:
            if getattr(run, part) == reference:
                return run
    if len(matches) > 1:
        names = sorted(run.name for run in matches)
        more = ", ..." if len(names) > MOST_NAMED else ""
        raise RunNotFound(
            f"'{reference}' could be any of {', '.join(names[:MOST_NAMED])}{more}",
            hint="type more of the name",
        )
    return matches[0] if matches else None
