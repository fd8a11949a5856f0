"""The cluster, as the control loop sees it.

`cluster.ray_jobs.RayCluster` is the real one, `cluster.fake.FakeCluster` a complete one in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from orchestrator.domain.node_marks import NodeMark


@dataclass(frozen=True)
class Node:
    id: str
    address: str
    hostname: str
    alive: bool
    head: bool
    resources: Mapping[str, float]
    """What it has in all, in Ray's words: CPU and GPU in devices, memory in bytes."""
    labels: Mapping[str, str] = field(default_factory=dict)
    cordoned: bool = False
    """It takes no new workers; those that are there stay."""
    draining: bool = False
    """It will be gone: no new workers, and those that are there move away."""

    @property
    def open(self) -> bool:
        """Whether new workers may go there."""
        return self.alive and not self.cordoned and not self.draining


@dataclass(frozen=True)
class ClusterView:
    nodes: tuple[Node, ...]
    autoscaled: bool = False
    """It may grow: no run is told that it can never fit."""

    def marked(self, marks: Mapping[str, NodeMark]) -> "ClusterView":
        """With what somebody said of its nodes."""
        if not marks:
            return self
        return replace(self, nodes=tuple(_marked(node, marks.get(node.id)) for node in self.nodes))


def _marked(node: Node, mark: NodeMark | None) -> Node:
    if mark is None:
        return node
    return replace(node, cordoned=mark.cordoned, draining=node.draining or mark.draining)


class DriverState(StrEnum):
    """Ray's own words for the state of a job."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def over(self) -> bool:
        return self in (DriverState.STOPPED, DriverState.SUCCEEDED, DriverState.FAILED)


@dataclass(frozen=True)
class DriverStatus:
    state: DriverState
    message: str = ""


@dataclass(frozen=True)
class DriverOrder:
    """One driver to be started."""

    submission_id: str
    run_folder: Path
    run_name: str
    attempt: int
    driver: int
    package: Path | None
    """Zip archive of the user's code; None for none."""
    env: Mapping[str, str]
    pip: tuple[str, ...]


class Cluster(Protocol):
    """All methods raise ClusterUnavailable while Ray is away, and block: call them from a thread."""

    def view(self) -> ClusterView: ...

    def launch(self, order: DriverOrder) -> None:
        """Start a driver; a second time with the same submission_id does nothing."""
        ...

    def drivers(self) -> Mapping[str, DriverStatus]:
        """By submission id, all that the cluster still knows of."""
        ...

    def stop(self, submission_id: str) -> None:
        """End a driver, by SIGTERM first; one that is over or unknown is left alone."""
        ...

    def drain(self, node_id: str, deadline_s: float | None, reason: str) -> bool:
        """Tell Ray that a node will be gone, so that it places nothing there; False where it cannot be told.

        Ray takes that back for no node.
        """
        ...

    def address(self) -> str: ...
