"""How long after it happened an event reaches a reader of the stream."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from benchmarks.event_stream import Arrival, event_stream
from benchmarks.report import percentile
from benchmarks.service_process import HOST, ServiceProcess
from orchestrator.domain.events import EventKind

LIVE: Final[dict[str, Any]] = {
    "name": "live",
    "priority": 100,
    "task": "language_model",
    "model": {"preset": "gpt-nano"},
    "workers": 1,
    "train": {"steps": 120, "global_batch": 8, "logical_shards": 1, "evaluate_rows": 8},
    "checkpoint": {"every": 2},
}
"""A run that fits, and commits a checkpoint, which is an event, every few steps."""
RUN_TIMEOUT_S = 240.0


@dataclass(frozen=True)
class Delays:
    what: str
    delays_ms: Sequence[float]

    @property
    def figures(self) -> list[float]:
        return [len(self.delays_ms), percentile(self.delays_ms, 50), max(self.delays_ms)]


def delays_of_cancels(service: ServiceProcess, names: Sequence[str]) -> list[Delays]:
    """From when a cancel was sent, hence before it took hold, to the status CANCELLED in the stream."""
    return [Delays("cancel_to_stream", [1000 * _delay_of_a_cancel_s(service, name) for name in names])]


def _delay_of_a_cancel_s(service: ServiceProcess, name: str) -> float:
    with event_stream(HOST, service.port, f"/api/v1/runs/{name}/stream") as stream:
        stream.wait(lambda arrival: arrival.kind == "status")
        sent = time.monotonic()
        answer = service.ask("POST", f"/api/v1/runs/{name}/cancel")
        if answer.status != HTTPStatus.ACCEPTED:
            raise ValueError(f"the cancel of {name} was answered {answer.status} {answer.body[:500]!r}")
        return stream.wait(_is_cancelled).monotonic_s - sent


def _is_cancelled(arrival: Arrival) -> bool:
    return arrival.kind == "status" and arrival.data["status"] == "CANCELLED"


def delays_of_a_run(service: ServiceProcess) -> list[Delays]:
    """From when a training process noted an event of its own, by its clock, to the stream of the service."""
    answer = service.submit(LIVE, key="live")
    if answer.status != HTTPStatus.CREATED:
        raise ValueError(f"the submit was answered {answer.status} {answer.body[:500]!r}")
    opened = time.time()
    with event_stream(HOST, service.port, "/api/v1/runs/live/stream") as stream:
        arrivals = stream.until_end(RUN_TIMEOUT_S)
    end = arrivals[-1].data
    if end["status"] != "SUCCEEDED":
        raise ValueError(f"the live run ended {end['status']}, {end['reason']}: {end['message']}")
    return [Delays("run_event_to_stream", live_delays_ms(arrivals, opened))]


def live_delays_ms(arrivals: Sequence[Arrival], opened: float) -> list[float]:
    """Of the checkpoints that were committed after the stream was opened; earlier ones are read from the
    record, and events of the service itself take a shorter way."""
    pairs = [
        (arrival.unix_s, datetime.fromisoformat(arrival.data["time"]).timestamp())
        for arrival in arrivals
        if arrival.kind == "event" and arrival.data["kind"] == EventKind.CHECKPOINT_COMMITTED
    ]
    return [1000 * (arrived - happened) for arrived, happened in pairs if happened > opened]
