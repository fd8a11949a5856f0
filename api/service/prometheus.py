"""/metrics: what Prometheus reads. Names and units by its own conventions; nothing is counted by step."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import Scope

from orchestrator.checkpoints.manifest import step_of
from orchestrator.domain.goodput import RunGoodput
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus

CONTENT_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


def _step_of(checkpoint: str | None) -> int:
    """Of a checkpoint's path or URI."""
    return (step_of(checkpoint.rpartition("/")[2]) or 0) if checkpoint is not None else 0


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
        self._of_runs = [
            (Gauge(name, about, ["run_id", "run"], registry=self.registry), value)
            for name, about, value in _OF_A_RUN
        ]
        self._worker_s = Gauge(
            "tumbler_run_worker_seconds",
            "Granted worker-seconds by what they were spent on",
            ["run_id", "run", "bucket"],
            registry=self.registry,
        )
        self._queue_s = Gauge(
            "tumbler_run_queue_seconds",
            "Seconds in which no worker of the run had a place",
            ["run_id", "run"],
            registry=self.registry,
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

    def text(
        self,
        counts: Mapping[RunStatus, int],
        active: Iterable[Run],
        spent: Mapping[str, RunGoodput] = MappingProxyType({}),
    ) -> bytes:
        """`spent` is the goodput of active runs, by id."""
        for status in RunStatus:
            self._runs.labels(status.value).set(counts.get(status, 0))
        for gauge in (*(gauge for gauge, _ in self._of_runs), self._worker_s, self._queue_s):
            gauge.clear()
        for run in active:
            for gauge, value in self._of_runs:
                gauge.labels(run.id, run.name).set(value(run))
            if run.id in spent:
                self._queue_s.labels(run.id, run.name).set(spent[run.id].queue_s)
                for bucket, seconds in spent[run.id].buckets.items():
                    self._worker_s.labels(run.id, run.name, bucket.value).set(seconds)
        return generate_latest(self.registry)
