"""What to do about one active run, decided from what is known of it. Pure: values in, values out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from orchestrator.domain.lifecycle_attempts import is_overtime, seconds_since
from orchestrator.domain.runs import Run
from orchestrator.domain.status import EndReason, RunStatus
from orchestrator.ports.cluster import DriverState, DriverStatus
from orchestrator.ports.run_files import News

STOP_PATIENCE_S: Final = 30.0
"""How much longer than its own grace an attempt may take to obey a wish to stop."""
MOST_IDLE_DRIVERS: Final = 3
"""So many drivers in a row that end without progress end the attempt."""


@dataclass(frozen=True)
class Sight:
    """What is known of one active run."""

    run: Run
    news: News
    driver: DriverStatus | None = None
    """Of the newest driver; None where the cluster does not know it."""
    looked: bool = False
    """The cluster answered after that driver was launched, if it was: `driver` can be relied on."""
    idle_drivers: int = 0
    """How many in a row, the newest included, are over or gone without progress."""
    refused: str | None = None
    """Why the driver cannot be launched at all."""


@dataclass(frozen=True)
class Hear:
    """Put the news into the record."""

    news: News


@dataclass(frozen=True)
class End:
    """Close the attempt."""

    reason: EndReason
    message: str


@dataclass(frozen=True)
class Launch:
    """Begin the attempt in the run directory and launch its newest driver; harmless if that was done."""


@dataclass(frozen=True)
class NextDriver:
    """Launch another driver in the same attempt, which adopts the controller or finds it gone."""

    message: str


@dataclass(frozen=True)
class Cancel:
    """Somebody stopped the run's job with Ray's own tools: a wish like any other."""

    message: str


@dataclass(frozen=True)
class StopDriver:
    """The wish to stop was not obeyed: end the driver by force."""


@dataclass(frozen=True)
class MindDeadline:
    """The time of the run is over."""


Action: TypeAlias = Hear | End | Launch | NextDriver | Cancel | StopDriver | MindDeadline


def decide(sight: Sight, now: datetime) -> tuple[Action, ...]:
    """In the order in which it is to be done."""
    run, news = sight.run, sight.news
    heard: tuple[Action, ...] = (Hear(news),) if news.state is not None or news.events else ()
    if news.over():
        assert news.state is not None
        assert news.state.reason is not None
        return (*heard, End(news.state.reason, news.state.message))
    if sight.refused is not None:
        return (*heard, End(EndReason.SPEC_REFUSED, sight.refused))
    return (*heard, *_about_time(run, now), *(_about_driver(sight, now) if sight.looked else ()))


def decide_blindly(run: Run, trouble: str, for_s: float, now: datetime) -> tuple[Action, ...]:
    """While its storage cannot be read: wait, unless somebody waits for its end, or it never began."""
    if is_overdue(run, now):
        assert run.stop is not None
        return (StopDriver(), End(run.stop, trouble))
    if run.status is RunStatus.STARTING and for_s >= run.spec.retry.start_timeout:
        return (StopDriver(), End(EndReason.STORAGE_FAILED, trouble))
    return ()


def is_overdue(run: Run, now: datetime) -> bool:
    """It was asked to stop and had time enough."""
    if run.stop is None or run.stop_since is None:
        return False
    return seconds_since(run.stop_since, now) > run.spec.stop.grace + STOP_PATIENCE_S


def _about_time(run: Run, now: datetime) -> tuple[Action, ...]:
    live = run.status in (RunStatus.STARTING, RunStatus.RUNNING) and run.stop is None
    return (MindDeadline(),) if live and is_overtime(run, now) else ()


def _about_driver(sight: Sight, now: datetime) -> tuple[Action, ...]:
    run, driver = sight.run, sight.driver
    overdue = is_overdue(run, now)
    if driver is not None and not driver.state.over:
        return (StopDriver(),) if overdue else ()
    message = "the cluster knows nothing of its job" if driver is None else driver.message
    if overdue:
        assert run.stop is not None
        return (End(run.stop, message),)
    if driver is None and not _was_launched(sight):
        return (Launch(),)
    if driver is not None and driver.state is DriverState.STOPPED and run.stop is None:
        return (Cancel("its Ray job was stopped"),)
    if sight.idle_drivers >= MOST_IDLE_DRIVERS:
        said = f"{sight.idle_drivers} drivers in a row ended without progress; the last one: {message}"
        return (End(EndReason.CONTROLLER_LOST, said),)
    return (NextDriver(message),)


def _was_launched(sight: Sight) -> bool:
    """A first driver whose controller wrote something was there. A later one may be launched twice in any
    case: it only ever adopts."""
    state = sight.news.state
    return sight.run.driver == 1 and state is not None and state.status is not RunStatus.QUEUED
