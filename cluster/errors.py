"""Errors of what happens on the machines of a run."""

from typing import ClassVar

from orchestrator.domain.errors import TumblerError, WorkerNotFound

__all__ = ["DriverRefused", "HeadFailed", "PackageRefused", "WorkerNotFound"]


class HeadFailed(TumblerError):
    """A Ray head could not be started."""


class DriverRefused(TumblerError):
    """Ray will never start this driver, however often it is asked."""


class PackageRefused(TumblerError):
    """A folder of code that cannot be shipped."""

    exit_code: ClassVar[int] = 3
