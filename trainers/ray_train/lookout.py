"""What a controller sees of the service: its orders, and its beat."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.domain.errors import StorageError
from orchestrator.domain.orders import Orders
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from trainers.ray_train.happenings import (
    CheckpointWanted,
    NodesOrdered,
    StopRequested,
    TargetChanged,
    WorkersOrdered,
)

Wish: TypeAlias = TargetChanged | CheckpointWanted | StopRequested | NodesOrdered | WorkersOrdered


@dataclass(frozen=True)
class Sight:
    orders: Orders | None
    """The newest ones of this attempt, if they are new since the last look."""
    beat: int | None
    """When the service's beat changed last, nanoseconds on the clock of the disk; None for never."""


class Lookout:
    """Looks at two small files; a look may block as long as the disk does. A disk that fails shows nothing
    new."""

    def __init__(self, run: RunDirectory, attempt: int) -> None:
        self._run = run
        self._attempt = attempt
        self._known: tuple[int, int] | None = None

    def look(self) -> Sight:
        orders, beat = None, None
        with suppress(OSError, StorageError):
            beat = self._run.beat_path.stat().st_mtime_ns
        with suppress(OSError, StorageError):
            orders = self._new_orders()
        return Sight(orders, beat)

    def _new_orders(self) -> Orders | None:
        found = self._run.orders_path.stat()
        # They are replaced as a whole: new ones are another file.
        identity = (found.st_ino, found.st_mtime_ns)
        if identity == self._known:
            return None
        orders = self._run.read_orders()
        self._known = identity
        return orders if orders is not None and orders.attempt == self._attempt else None


def orders_for(run: RunDirectory, attempt: int) -> Orders | None:
    """What the service wishes of an attempt; None for nothing, or nothing that can be read."""
    with suppress(StorageError):
        orders = run.read_orders()
        if orders is not None and orders.attempt == attempt:
            return orders
    return None


def standing_orders(spec: RunSpec, attempt: int) -> Orders:
    """What an attempt does that was ordered nothing."""
    return Orders(attempt=attempt, workers_min=spec.workers.min, target=spec.workers.max)


def wishes(before: Orders, now: Orders) -> list[Wish]:
    """What new orders ask for that the orders before did not."""
    wished: list[Wish] = []
    if (before.target, before.workers_min) != (now.target, now.workers_min):
        wished.append(TargetChanged(max(now.target, now.workers_min), now.workers_min))
    if (before.closed_nodes, before.drained_nodes) != (now.closed_nodes, now.drained_nodes):
        wished.append(NodesOrdered(now.closed_nodes, dict(now.drained_nodes)))
    if (before.drain_workers, before.kill_workers) != (now.drain_workers, now.kill_workers):
        wished.append(WorkersOrdered(now.drain_workers, now.kill_workers))
    if now.checkpoint not in (0, before.checkpoint):
        wished.append(CheckpointWanted(now.checkpoint))
    if now.stop is not None and before.stop is None:
        wished.append(StopRequested(now.stop, now.why_stop))
    return wished
