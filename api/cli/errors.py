"""Errors of commands, besides those of what they call."""

from typing import ClassVar

from orchestrator.domain.errors import TumblerError


class FileExists(TumblerError):
    """A command would overwrite a file."""

    exit_code: ClassVar[int] = 6


class NothingToSay(TumblerError):
    """The run has no model that could generate text."""


class DemoFailed(TumblerError):
    """The demo could not show what it is there to show."""
