"""What ties a worker's training thread to the process it runs in and to the controller."""

from collections.abc import Callable
from dataclasses import dataclass

from trainers.elastic.mailbox import Mailbox
from trainers.elastic.messages import Offer, Report


@dataclass(frozen=True)
class WorkerLink:
    worker_id: str
    mailbox: Mailbox
    report: Callable[[Report], None]
    """Sends to the controller; returns at once, never raises."""
    on_generation: Callable[[Offer, int], None]
    """Called with (offer, own rank) when the worker has become a member of a generation."""
    host: str
    pid: int
    node_id: str
