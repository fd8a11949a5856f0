"""What the service answers for charts, as models; see `answers`."""

from pydantic import ConfigDict

from api.service.answers import GenerationShown, Number, Shown


class WorkerLifeShown(Shown):
    """One worker, from when it was given its place; None where that never happened."""

    worker: str
    attempt: int
    state: str
    """As in WorkerShown, or `placed` before its process starts."""
    node_id: str | None
    pid: int | None
    placed: str | None
    """The cluster gave it a place."""
    started: str | None
    warm: str | None
    joined: str | None
    """When its first generation formed."""
    ended: str | None
    why: str | None
    """Why it ended, in a sentence."""


class IncidentShown(Shown):
    """An event that tells of trouble."""

    time: str
    kind: str
    message: str
    worker: str | None


class TimelineShown(Shown):
    workers: list[WorkerLifeShown]
    generations: list[GenerationShown]
    incidents: list[IncidentShown]


class Sparkline(Shown):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, list[Number | None]]

    step: list[int]


class Sparklines(Shown):
    runs: dict[str, Sparkline]
    """By id; each has `step` and the key asked for, of equal length."""
