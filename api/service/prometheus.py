"""/metrics: what Prometheus reads. Names and units by its own conventions; nothing is counted by step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import Scope

from orchestrator.checkpoints.manifest import step_of
from orchestrator.domain.goodput import RunGoodput
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.cluster import ClusterView, Node

CONTENT_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


def _step_of(checkpoint: str | None) -> int:
    """Of a checkpoint's path or URI."""
    return (step_of(checkpoint.rpartition("/")[2]) or 0) if checkpoint is not None else 0


def _step_s(run: Run) -> float | None:
    return run.progress.step_s.get(run.progress.workers)


def _by(amount: float | None, seconds: float | None) -> float | None:
    return amount / seconds if amount is not None and seconds else None


_OF_A_RUN: Final[tuple[tuple[str, str, Callable[[Run], float]], ...]] = (
    ("tumbler_run_step", "Newest step done", lambda run: run.progress.step),
    ("tumbler_run_workers", "Workers in the newest generation", lambda run: run.progress.workers),
    ("tumbler_run_target_workers", "Workers granted", lambda run: run.target),
    ("tumbler_run_attempt", "Number of the newest attempt", lambda run: run.attempt),
    ("tumbler_run_generation", "Number of the newest generation", lambda run: run.progress.generation),
    (
        "tumbler_run_checkpoint_step",
        "Step of the newest committed checkpoint; 0 before the first",
        lambda run: _step_of(run.progress.checkpoint),
    ),
    (
        "tumbler_run_skipped_checkpoints",
        "Checkpoints that could not be written, or were damaged when they were to be restored",
        lambda run: run.skipped_checkpoints,
    ),
)
_WHERE_KNOWN: Final[tuple[tuple[str, str, Callable[[Run], float | None]], ...]] = (
    ("tumbler_run_total_steps", "Steps it will have", lambda run: run.progress.total_steps),
    ("tumbler_run_loss", "Newest training loss", lambda run: run.progress.metrics.get("loss")),
    (
        "tumbler_run_validation_loss",
        "Newest validation loss",
        lambda run: run.progress.metrics.get("val_loss"),
    ),
    ("tumbler_run_step_seconds", "Seconds of a step with the workers it has, a running mean", _step_s),
    (
        "tumbler_run_items_per_second",
        "Valid items of the batch (tokens, rows) by the seconds of a step",
        lambda run: _by(run.progress.metrics.get("count"), _step_s(run)),
    ),
)
"""Of a run that has such a number; a run that has none has no such series."""
_OF_GOODPUT: Final[tuple[tuple[str, str, Callable[[RunGoodput], float]], ...]] = (
    (
        "tumbler_run_queue_seconds",
        "Seconds in which no worker of the run had a place",
        lambda spent: spent.queue_s,
    ),
    ("tumbler_run_repeated_steps", "Steps done again", lambda spent: spent.steps_repeated),
    (
        "tumbler_run_lost_workers",
        "Workers that died, hung, raised or were outvoted",
        lambda spent: spent.workers_lost,
    ),
)
_OF_A_QUEUE: Final = (
    ("tumbler_queue_waiting_runs", "Runs that wait in the queue", "waiting"),
    ("tumbler_queue_active_runs", "Runs of the queue that have or get workers", "running"),
    ("tumbler_queue_weight", "What the queue deserves of the surplus, beside others", "weight"),
)
_RESOURCES: Final = {"CPU": "cpus", "GPU": "gpus", "memory": "memory_bytes"}
_STATES: Final[tuple[tuple[str, Callable[[Node], bool]], ...]] = (
    ("open", lambda node: node.open),
    ("cordoned", lambda node: node.alive and node.cordoned and not node.draining),
    ("draining", lambda node: node.alive and node.draining),
    ("gone", lambda node: not node.alive),
)
"""Each node is in exactly one."""


@dataclass(frozen=True)
class Seen:
    """What the service knows at one moment."""

    counts: Mapping[RunStatus, int] = field(default_factory=dict)
    active: Iterable[Run] = ()
    spent: Mapping[str, RunGoodput] = field(default_factory=dict)
    """Goodput of active runs, by id."""
    queues: Sequence[Mapping[str, Any]] = ()
    """As `GET /queues` tells them."""
    view: ClusterView | None = None
    """None where Ray never answered."""
    cluster_up: bool = True
    reconciling: bool = True


class Gauges:
    """All series of one service. Those of a run are gone when it has ended."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._runs = Gauge("tumbler_runs", "Runs in the record", ["status"], registry=self.registry)
        self._round_s = Histogram(
            "tumbler_reconcile_round_seconds",
            "Duration of a round of the reconciler",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._requests = Counter(
            "tumbler_http_requests",
            "Answered requests",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._request_s = Histogram(
            "tumbler_http_request_duration_seconds",
            "Seconds until the head of the answer was sent",
            ["route"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.deliveries = Counter(
            "tumbler_webhook_deliveries",
            "Events that a webhook was told: taken (delivered) or not (failed, and tried again)",
            ["webhook", "outcome"],
            registry=self.registry,
        )
        self.backlog = self._gauge("tumbler_webhook_backlog_events", "Events not yet delivered", "webhook")
        self.failing = self._gauge("tumbler_webhook_failing", "1 while a webhook takes nothing", "webhook")
        self._up = self._gauge("tumbler_cluster_up", "1 while Ray answers the service")
        self._reconciling = self._gauge("tumbler_reconciler_running", "1 while the service acts on runs")
        self._nodes = self._gauge("tumbler_cluster_nodes", "Nodes by state", "state")
        self._cpus = self._gauge("tumbler_cluster_cpus", "CPUs of all nodes that live")
        self._gpus = self._gauge("tumbler_cluster_gpus", "GPUs of all nodes that live")
        self._held = self._gauge("tumbler_queue_held", "What runs of the queue hold", "queue", "resource")
        self._quota = self._gauge("tumbler_queue_quota", "The most they may hold", "queue", "resource")
        self._of_queues = [(self._gauge(name, about, "queue"), key) for name, about, key in _OF_A_QUEUE]
        self._of_runs = [
            (self._of_run(name, about), value) for name, about, value in _OF_A_RUN + _WHERE_KNOWN
        ]
        self._of_goodput = [(self._of_run(name, about), value) for name, about, value in _OF_GOODPUT]
        self._worker_s = self._of_run(
            "tumbler_run_worker_seconds", "Granted worker-seconds by what they were spent on", "bucket"
        )

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """One request; by its route and not its path, so that no client can make up series."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        key = (method, route, status)
        known = self._known.get(key)
        if known is None:
            known = (self._requests.labels(method, route, status), self._request_s.labels(route))
            self._known[key] = known
        known[0].inc()
        known[1].observe(seconds)

    def round_took(self, seconds: float) -> None:
        self._round_s.observe(seconds)

    def text(self, seen: Seen) -> bytes:
        for status in RunStatus:
            self._runs.labels(status.value).set(seen.counts.get(status, 0))
        self._reconciling.set(seen.reconciling)
        self._tell_cluster(seen)
        self._tell_queues(seen.queues)
        self._tell_runs(seen)
        return generate_latest(self.registry)

    def _tell_cluster(self, seen: Seen) -> None:
        nodes = seen.view.nodes if seen.view is not None else ()
        living = [node for node in nodes if node.alive]
        self._up.set(seen.cluster_up)
        for state, holds in _STATES:
            self._nodes.labels(state).set(sum(map(holds, nodes)))
        self._cpus.set(sum(node.resources.get("CPU", 0.0) for node in living))
        self._gpus.set(sum(node.resources.get("GPU", 0.0) for node in living))

    def _tell_queues(self, queues: Sequence[Mapping[str, Any]]) -> None:
        for gauge in (*(gauge for gauge, _ in self._of_queues), self._held, self._quota):
            gauge.clear()
        for queue in queues:
            for gauge, key in self._of_queues:
                gauge.labels(queue["name"]).set(queue[key])
            for gauge, amounts in ((self._held, queue["held"]), (self._quota, queue["quota"])):
                for kind, amount in amounts.items():
                    gauge.labels(queue["name"], _RESOURCES.get(kind, kind)).set(amount)

    def _tell_runs(self, seen: Seen) -> None:
        for gauge in (*(gauge for gauge, _ in (*self._of_runs, *self._of_goodput)), self._worker_s):
            gauge.clear()
        for run in seen.active:
            for gauge, value in self._of_runs:
                known = value(run)
                if known is not None:
                    gauge.labels(run.id, run.name).set(known)
            spent = seen.spent.get(run.id)
            if spent is not None:
                for gauge, amount in self._of_goodput:
                    gauge.labels(run.id, run.name).set(amount(spent))
                for bucket, seconds in spent.buckets.items():
                    self._worker_s.labels(run.id, run.name, bucket.value).set(seconds)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=self.registry)

    def _of_run(self, name: str, about: str, *labels: str) -> Gauge:
        return self._gauge(name, about, "run_id", "run", *labels)
