"""/metrics: what Prometheus reads. Names and units by its own conventions; nothing is counted by step."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import Scope

from orchestrator.checkpoints.manifest import step_of
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus

CONTENT_TYPE: Final = "text/plain; version=1.0.0; charset=utf-8"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


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
        run = {"labelnames": ["run_id", "run"], "registry": self.registry}
        self._step = Gauge("tumbler_run_step", "Newest step done", **run)  # type: ignore[arg-type]
        self._workers = Gauge("tumbler_run_workers", "Workers in the newest generation", **run)  # type: ignore[arg-type]
        self._target = Gauge("tumbler_run_target_workers", "Workers granted", **run)  # type: ignore[arg-type]
        self._attempt = Gauge("tumbler_run_attempt", "Number of the newest attempt", **run)  # type: ignore[arg-type]
        self._generation = Gauge("tumbler_run_generation", "Number of the newest generation", **run)  # type: ignore[arg-type]

        self._checkpoint_step = Gauge(
            "tumbler_run_checkpoint_step",
            "Step of the newest committed checkpoint; 0 before the first",
            **run,  # type: ignore[arg-type]
        )
        self._skipped_checkpoints = Gauge(
            "tumbler_run_skipped_checkpoints",
            "Checkpoints that could not be written, or were damaged when they were to be restored",
            **run,  # type: ignore[arg-type]
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

    def text(self, counts: Mapping[RunStatus, int], active: Iterable[Run]) -> bytes:
        for status in RunStatus:
            self._runs.labels(status.value).set(counts.get(status, 0))
        series = (
            self._step,
            self._workers,
            self._target,
            self._attempt,
            self._generation,
            self._checkpoint_step,
            self._skipped_checkpoints,
        )
        for gauge in series:
            gauge.clear()
        for run in active:
            progress = run.progress
            values = (
                progress.step,
                progress.workers,
                run.target,
                run.attempt,
                progress.generation,
                _step_of(progress.checkpoint),
                run.skipped_checkpoints,
            )
            for gauge, value in zip(series, values, strict=True):
                gauge.labels(run.id, run.name).set(value)
        return generate_latest(self.registry)


def _step_of(checkpoint: str | None) -> int:
    """Of a checkpoint's path or URI."""
    return (step_of(checkpoint.rpartition("/")[2]) or 0) if checkpoint is not None else 0
