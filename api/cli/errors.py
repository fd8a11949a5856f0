"""Errors of commands, besides those of what they call."""

from typing import ClassVar

from orchestrator.domain.errors import TumblerError


class Usage(TumblerError):
    """What was typed makes no sense; says what would."""

    exit_code: ClassVar[int] = 2


class FileExists(TumblerError):
    """A command would overwrite a file."""

    exit_code: ClassVar[int] = 6


class NothingToSay(TumblerError):
    """The run has no model that could generate text."""


class DemoFailed(TumblerError):
    """The demo could not show what it is there to show."""


class StillNeeded(TumblerError):
    """Something is in use that a command would take away."""

    exit_code: ClassVar[int] = 6


class CannotStart(TumblerError):
    """The service or the head did not come up."""
