"""What somebody said of nodes: cordoned, or draining by a deadline. The service keeps it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final


@dataclass(frozen=True)
class NodeMark:
    """Of one node; whoever is neither cordoned nor draining has none."""

    id: str
    cordoned: bool = False
    draining: bool = False
    drain_until: str | None = None
    """When it will be gone, RFC 3339; None where nobody knows."""
    reason: str = ""
    told_ray: bool = False
    """Ray knows of the drain too, and takes nothing back."""


@dataclass(frozen=True)
class NodeOrders:
    """What all runs are told of nodes."""

    closed: tuple[str, ...] = ()
    drained: tuple[tuple[str, float | None], ...] = ()
    """Node id and deadline, seconds since 1970."""


NO_NODES: Final = NodeOrders()
"""Nobody said anything."""


def node_orders(marks: Iterable[NodeMark]) -> NodeOrders:
    """In order of the ids, so that the same marks make the same orders."""
    known = sorted(marks, key=lambda mark: mark.id)
    return NodeOrders(
        closed=tuple(mark.id for mark in known if mark.cordoned and not mark.draining),
        drained=tuple((mark.id, _seconds(mark.drain_until)) for mark in known if mark.draining),
    )


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.fromisoformat(moment).timestamp()
