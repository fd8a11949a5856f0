"""Run directories, as the control loop sees them: where orders go, and where news comes from.

`orchestrator.store.run_files.RunFolders` keeps them on a disk; `cluster.fake.FakeCluster` in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.domain.node_marks import NO_NODES, NodeOrders
from orchestrator.domain.run_directory import RunState
from orchestrator.domain.runs import Run


@dataclass(frozen=True)
class News:
    """What a run directory tells."""

    state: RunState | None
    """None while there is no directory, or it is still of an older attempt."""
    events: Sequence[Mapping[str, Any]] = ()
    """Those after the sequence number asked for, each with its `seq`."""

    def over(self) -> bool:
        """The attempt has ended: nobody trains in it any more, and `state.reason` says why."""
        return self.state is not None and self.state.reason is not None


class RunFiles(Protocol):
    """All methods raise StorageError, and block: call them from a thread."""

    def begin(self, run: Run) -> None:
        """Make the directory, or begin attempt `run.attempt` in it; nothing where that was done already."""
        ...

    def order(self, run: Run, nodes: NodeOrders = NO_NODES) -> None:
        """Put the run's wanted state (`target`, `workers_min`, `checkpoint_wish`, `worker_wishes`, `stop`)
        and that of the nodes into its orders."""
        ...

    def beat(self, run: Run) -> None:
        """Show that the service lives: a controller that loses both driver and service ends itself."""
        ...

    def news(self, run: Run) -> News:
        """What happened after `run.outbox_seq`."""
        ...
