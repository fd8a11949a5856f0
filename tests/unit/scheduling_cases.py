"""Nodes, queues and runs for the tests of the scheduler, in few words."""

from datetime import timedelta
from typing import Any

from orchestrator.domain.events import timestamp
from orchestrator.domain.lifecycle import new_run
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Progress, Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.cluster import ClusterView, Node
from orchestrator.scheduling.planning import Plan, plan
from tests.unit.service_world import NOW, spec_of


def view(*nodes: float | dict[str, float], autoscaled: bool = False, **labels: str) -> ClusterView:
    """A number is so many CPUs; the labels are those of the first node."""
    resources = [each if isinstance(each, dict) else {"CPU": float(each)} for each in nodes]
    return ClusterView(
        tuple(
            Node(f"n{index}", "127.0.0.1", f"n{index}", True, index == 0, each, {} if index else labels)
            for index, each in enumerate(resources)
        ),
        autoscaled,
    )


def queued(name: str, *, waited_s: float = 0.0, **content: Any) -> Run:
    since = NOW - timedelta(seconds=waited_s)
    return new_run(spec_of(name, **content), now=since, run_id=name).run


def active(name: str, target: int, **content: Any) -> Run:
    """A run that trains with all it is granted; `step_s` and `left` say how fast, and how many steps more."""
    content.setdefault("workers", target)
    step_s, left = content.pop("step_s", {}), content.pop("left", None)
    seats, started_s = content.pop("seats", {}), content.pop("started_s", 0.0)
    progress = Progress(total_steps=left, workers=target, step_s=step_s, seats=seats)
    return queued(name, **content).with_(
        status=RunStatus.RUNNING,
        attempt=1,
        target=target,
        started=timestamp(NOW + timedelta(seconds=started_s)),
        progress=progress,
    )


def queues(**quotas: dict[str, float]) -> dict[str, Queue]:
    """`weight` beside the kinds of a quota."""
    return {
        name: Queue(
            name, {kind: most for kind, most in body.items() if kind != "weight"}, body.get("weight", 1.0)
        )
        for name, body in quotas.items()
    }


def decide(waiting: list[Run], living: list[Run], cluster: ClusterView, **others: Any) -> Plan:
    return plan(waiting, living, cluster, NOW, **others)
