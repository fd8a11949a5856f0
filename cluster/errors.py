"""Errors of what happens on the machines of a run."""

from typing import ClassVar

from orchestrator.domain.errors import TumblerError


class WorkerNotFound(TumblerError):
    """No such worker of a run can be reached from here."""

    exit_code: ClassVar[int] = 4
