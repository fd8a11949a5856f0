"""Why runs wait, or have fewer workers than they could use, as the reconciler says it."""

from collections.abc import Mapping
from typing import Any, Protocol

from api.service.representations import run_dict
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.cluster import ClusterView


class Waits(Protocol):
    """What the service tells of the reconciler. Nothing of it asks the record or the cluster."""

    def wait_of(self, run: Run) -> str | None: ...

    def warning_of(self, run: Run) -> str | None: ...

    def wake(self) -> None: ...

    @property
    def reasons(self) -> Mapping[str, str]: ...

    @property
    def queues(self) -> Mapping[str, Queue]: ...

    @property
    def cluster_trouble(self) -> str | None: ...

    @property
    def last_view(self) -> ClusterView | None: ...


def wait_dict(run: Run, waits: Waits, position: int | None = None) -> dict[str, Any] | None:
    """As WaitShown says; None for a run that is over, or has all that it could use."""
    match run.status:
        case RunStatus.QUEUED | RunStatus.STARTING:
            return {"position": position, "why": waits.wait_of(run)}
        case RunStatus.RUNNING if (why := waits.wait_of(run)) is not None:
            return {"position": None, "why": why}
        case _:
            return None


def listed_dict(run: Run, waits: Waits) -> dict[str, Any]:
    """As RunListed says. Its place in the queue is not counted: that takes a question for each."""
    return {**run_dict(run), "wait": wait_dict(run, waits)}
