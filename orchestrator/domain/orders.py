"""What the service wishes of a living attempt: one small file in its run directory, replaced as a whole.

Orders are a wanted state, not commands: reading them twice, late or after a restart changes nothing, and
training code needs no address of the service. The controller looks at the file several times a second.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.domain.node_marks import NO_NODES, NodeOrders
from orchestrator.domain.runs import Run, WorkerWishes
from orchestrator.domain.status import EndReason

_WISHES: Final[Mapping[EndReason | None, str]] = MappingProxyType(
    {EndReason.USER_CANCELLED: "a user cancelled it", EndReason.USER_PAUSED: "a user paused it"}
)


class Orders(BaseModel):
    """What orders.json holds."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    """Orders for another attempt are not heard."""
    workers_min: int
    target: int
    """How many workers are granted now; at least `workers_min`."""
    checkpoint: int = 0
    """Number of the wish for a checkpoint now, which is never used again; 0 where none is open."""
    stop: EndReason | None = None
    """Leave at the next step boundary with a last checkpoint, and end the attempt for this reason."""
    stop_message: str = ""
    drain_workers: tuple[str, ...] = ()
    """Each leaves politely, and another comes in its place. Ids are never used again, so a name stays here
    for the whole attempt without harm."""
    kill_workers: tuple[str, ...] = ()
    """Each is killed, once: a fault on purpose."""
    closed_nodes: tuple[str, ...] = ()
    """Ids of nodes where no new worker may start; those that are there stay."""
    drained_nodes: Mapping[str, float | None] = Field(default_factory=dict)
    """Ids of nodes that will be gone, and when: seconds since 1970, None where nobody knows. Workers move
    away."""

    @property
    def why_stop(self) -> str:
        """What is told of the wish to stop."""
        return self.stop_message or _WISHES.get(self.stop, "the service asked it to stop")


def orders_of(run: Run, nodes: NodeOrders = NO_NODES) -> Orders:
    """What the record says that a run's newest attempt is to do."""
    wishes = run.worker_wishes if run.worker_wishes.attempt == run.attempt else WorkerWishes()
    return Orders(
        attempt=run.attempt,
        # Scaled to more than it is granted, it trains on until it gets them.
        workers_min=min(run.workers_min, run.target),
        target=run.target,
        checkpoint=run.checkpoint_wish,
        stop=run.stop,
        stop_message=run.message if run.stop else "",
        drain_workers=wishes.drain,
        kill_workers=wishes.kill,
        closed_nodes=nodes.closed,
        drained_nodes=dict(nodes.drained),
    )
