"""Every error that Tumbler raises on purpose, under one root.

Each class says how a command ends when nobody handles it (`exit_code`). All of them cross process borders, so
each must pickle: what the constructor takes by position is what lands in `args`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a spec, and where.

    `str()` gives `run.yaml:12:3 workers.mx: unknown field, did you mean 'max'?`.
    """

    pointer: str
    """Dotted path into the spec such as `workers.max` or `secrets.0`; empty for the spec as a whole."""
    message: str
    file: str | None = None
    line: int | None = None
    """Counted from 1, as editors do."""
    column: int | None = None
    """Counted from 1, as editors do."""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        subject = f"{self.pointer}: {self.message}" if self.pointer else self.message
        return f"{place} {subject}" if place else subject


class TumblerError(Exception):
    """Root of all errors that Tumbler raises on purpose; the message is one sentence for the user."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        """What to do about it, printed on a line of its own; empty if the message already says so."""

    @property
    def message(self) -> str:
        """The sentence without the hint."""
        return str(self)


class SpecError(TumblerError):
    """A run spec is not valid; `problems` lists everything that is wrong with it at once."""

    exit_code: ClassVar[int] = 3

    def __init__(self, problems: Iterable[Problem], *, hint: str = "") -> None:
        super().__init__(hint=hint)
        self.problems = tuple(problems)
        self.args = (self.problems,)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class DataError(TumblerError):
    """The data of a run cannot be read or does not hold what the spec says."""

    exit_code: ClassVar[int] = 3


class RunNotFound(TumblerError):
    """No run has this name, prefix or path."""

    exit_code: ClassVar[int] = 4


class RunExists(TumblerError):
    """A run of this name is already there."""

    exit_code: ClassVar[int] = 6


class ClusterUnavailable(TumblerError):
    """Ray is missing, out of reach or of an unsupported version."""


class StorageError(TumblerError):
    """The run storage cannot be read or written, or holds something broken."""


class CheckpointError(TumblerError):
    """A checkpoint is torn, corrupt or does not fit the model."""


class WorkerNotFound(TumblerError):
    """No such worker of a run lives, or can be reached from here."""

    exit_code: ClassVar[int] = 4


class NodeNotFound(TumblerError):
    """No node, or more than one, is called that."""

    exit_code: ClassVar[int] = 4


class CheckpointNotFound(TumblerError):
    """The run has no committed checkpoint of this step."""

    exit_code: ClassVar[int] = 4


class DiskFull(StorageError):
    """There is no room left; nothing was lost, and it heals when there is."""


class WrongStatus(TumblerError):
    """The run is not in a status in which this can be done."""

    exit_code: ClassVar[int] = 6


class Stale(TumblerError):
    """The run was changed since it was read."""

    exit_code: ClassVar[int] = 6


class KeyReused(TumblerError):
    """An Idempotency-Key came again with another request."""

    exit_code: ClassVar[int] = 6


class BadCursor(TumblerError):
    """A cursor is not from a page of this listing."""

    exit_code: ClassVar[int] = 2


class LeaseLost(TumblerError):
    """Another service acts now; this one must not write."""


class ServiceUnreachable(TumblerError):
    """No service answers at the address."""

    exit_code: ClassVar[int] = 7


class NotFinished(TumblerError):
    """A run was waited for, and time was over first."""

    exit_code: ClassVar[int] = 101


class RunFailed(TumblerError):
    """The run ended with status FAILED."""

    exit_code: ClassVar[int] = 100


class RunCancelled(TumblerError):
    """The run ended with status CANCELLED."""

    exit_code: ClassVar[int] = 103
