"""Benchmark `control_plane`: the real service under submits at a fixed rate, long lists and streams.

The service has a record on disk (SQLite, every acknowledged submit synced), a real Ray head, and its
reconciler at work: all runs but one ask for more workers than the head can hold, so they stay queued.
"""

import http.client
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.control_plane_events import Delays, delays_of_a_run, delays_of_cancels
from benchmarks.offered_load import Load, Outcome, offer
from benchmarks.report import Bar, Report, percentile
from benchmarks.service_process import HOST, NO_RAY, OWN_HEAD, ServiceProcess, ask, running_service
from cluster.head import start_head

NUM_CPUS = 2
WAITING: Final[Mapping[str, Any]] = {
    "task": "language_model",
    "labels": {"team": "control-plane"},
    "model": {"preset": "gpt-nano"},
    "workers": {"min": 4, "max": 8},
    "train": {"steps": 1000, "global_batch": 64, "logical_shards": 8},
}
"""A run that never starts on so small a head."""
NUM_WARMUP, PRELOAD_CONNECTIONS = 100, 16
NUM_PAGES, PAGE = 50, 100
SETTLE_S = 2.0
NUM_SYNCS = 50

SUBMIT_P99_MS, PAGE_MS, GROWTH_MB, EVENT_MS = 25.0, 100.0, 100.0, 500.0


@dataclass(frozen=True)
class Scale:
    num_queued: int
    rate: float
    load_s: float
    num_cancels: int


FULL = Scale(num_queued=10_000, rate=1000.0, load_s=30.0, num_cancels=50)
QUICK = Scale(num_queued=2_000, rate=1000.0, load_s=5.0, num_cancels=10)


@dataclass(frozen=True)
class Memory:
    before_mb: float
    growth_mb: float
    """By the queued runs."""
    growth_with_load_mb: float
    """By all runs, those of the load too."""


@dataclass(frozen=True)
class Census:
    """What became of the submits that were acknowledged."""

    listed: int
    lost: int
    doubled: int


def run(*, quick: bool = False, with_ray: bool = True) -> Report:
    scale = QUICK if quick else FULL
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sync_ms = time_a_sync_ms(folder)
        if with_ray:
            stack.enter_context(local_head(folder / "home"))
        service = stack.enter_context(running_service(folder, OWN_HEAD if with_ray else NO_RAY))
        load_before = os.getloadavg()[0]
        memory, queued, offered, pages_ms, service_cpu_s = measure_submits(service, scale)
        census = count(queued.acknowledged, offered.acknowledged, listed_names(service))
        delays = delays_of_cancels(service, queued.acknowledged[: scale.num_cancels])
        if with_ray:
            delays += delays_of_a_run(service)
    results = {
        "queued_before": scale.num_queued,
        "queued_per_s": len(queued.acknowledged) / queued.elapsed_s,
        **figures_of_load(scale, offered),
        **{f"record_{name}": value for name, value in asdict(census).items()},
        **{f"memory_{name}": value for name, value in asdict(memory).items()},
        "first_page_p50_ms": percentile(pages_ms, 50),
        "first_page_p99_ms": percentile(pages_ms, 99),
        **{f"{delay.what}: number, p50 ms, max ms": delay.figures for delay in delays},
        "service_cpu_of_load": service_cpu_s / scale.load_s,
        "disk_sync_p50_ms": sync_ms,
        "with_ray": with_ray,
        "load_before": load_before,
    }
    return Report("control_plane", results, {}, bars_of(scale, offered, census, memory, pages_ms, delays))


def measure_submits(
    service: ServiceProcess, scale: Scale
) -> tuple[Memory, Outcome, Outcome, list[float], float]:
    """(memory, preload, load, first pages in ms, processor seconds of the service during the load)"""
    offer(_load(service, "warm-up", NUM_WARMUP, rate=None))
    list(first_pages_ms(service, 3))
    before = _settled_mb(service)
    queued = offer(_load(service, "queued", scale.num_queued, rate=None))
    grown = _settled_mb(service) - before
    pages_ms = list(first_pages_ms(service, NUM_PAGES))
    cpu_s = service.cpu_s()
    offered = offer(_load(service, "offered", round(scale.rate * scale.load_s), rate=scale.rate))
    cpu_s = service.cpu_s() - cpu_s
    memory = Memory(before, grown, _settled_mb(service) - before)
    return memory, queued, offered, pages_ms, cpu_s


def _load(service: ServiceProcess, prefix: str, num_submits: int, rate: float | None) -> Load:
    connections = {"num_connections": PRELOAD_CONNECTIONS} if rate is None else {}
    return Load(HOST, service.port, prefix, WAITING, num_submits, rate, **connections)


def _settled_mb(service: ServiceProcess) -> float:
    time.sleep(SETTLE_S)
    return service.resident_bytes() / 1e6


def first_pages_ms(service: ServiceProcess, num_pages: int) -> Iterator[float]:
    """How long each of so many GETs took, on one connection."""
    connection = http.client.HTTPConnection(HOST, service.port)
    try:
        for _ in range(num_pages):
            begun = time.perf_counter()
            answer = ask(connection, "GET", f"/api/v1/runs?limit={PAGE}")
            took_s = time.perf_counter() - begun
            if len(answer.json()["runs"]) != PAGE:
                raise ValueError(f"expected {PAGE} runs, got {answer.status} {answer.body[:500]!r}")
            yield took_s * 1000
    finally:
        connection.close()


def listed_names(service: ServiceProcess) -> list[str]:
    return [str(run["name"]) for run in service.runs(sort="created")]


def count(queued: Sequence[str], offered: Sequence[str], listed: Iterable[str]) -> Census:
    """Each acknowledged name must be listed exactly once."""
    times = Counter(listed)
    acknowledged = [*queued, *offered]
    return Census(
        listed=times.total(),
        lost=sum(name not in times for name in acknowledged),
        doubled=sum(number > 1 for number in times.values()),
    )


def figures_of_load(scale: Scale, offered: Outcome) -> dict[str, Any]:
    latencies_ms = [1000 * latency for latency in offered.latencies_s]
    return {
        "offered_per_s": scale.rate,
        "offered_for_s": scale.load_s,
        "acknowledged": len(offered.acknowledged),
        "acknowledged_per_s": len(offered.acknowledged) / offered.elapsed_s,
        "statuses": dict(offered.statuses),
        "submit_p50_ms": percentile(latencies_ms, 50),
        "submit_p90_ms": percentile(latencies_ms, 90),
        "submit_p99_ms": percentile(latencies_ms, 99),
        "submit_max_ms": max(latencies_ms),
        "late_sends_p99_ms": percentile([1000 * lag for lag in offered.lags_s], 99),
        "generator_cpu_of_load": offered.cpu_s / scale.load_s,
    }


def bars_of(
    scale: Scale,
    offered: Outcome,
    census: Census,
    memory: Memory,
    pages_ms: Sequence[float],
    delays: Sequence[Delays],
) -> list[Bar]:
    submits = round(scale.rate * scale.load_s)
    p99_ms = percentile([1000 * latency for latency in offered.latencies_s], 99)
    slowest_ms = max(max(delay.delays_ms) for delay in delays)
    queued = f"{scale.num_queued:,} queued runs"
    return [
        Bar.at_most("acknowledged runs that are lost or doubled", census.lost + census.doubled, 0, "runs"),
        Bar.at_most("submits not acknowledged", submits - len(offered.acknowledged), 0, "submits"),
        Bar.at_most(f"submit, {scale.rate:,.0f}/s beside {queued}, p99", p99_ms, SUBMIT_P99_MS, "ms"),
        Bar.at_most(f"first page of {PAGE} of {queued}, p99", percentile(pages_ms, 99), PAGE_MS, "ms"),
        Bar.at_most(f"growth of the service by {queued}", memory.growth_mb, GROWTH_MB, "MB"),
        Bar.at_most("from an event to a reader of the stream, max", slowest_ms, EVENT_MS, "ms"),
    ]


@contextmanager
def local_head(home: Path) -> Iterator[None]:
    """A Ray head of our own in the home of a service."""
    home.mkdir(parents=True, exist_ok=True)
    head = start_head(home, num_cpus=NUM_CPUS, num_gpus=0, auth="token")
    try:
        yield
    finally:
        head.stop()


def time_a_sync_ms(folder: Path) -> float:
    """Median time of a small write that is on the disk; what no durable submit can do without."""
    times: list[float] = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(NUM_SYNCS):
            begun = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            times.append(1000 * (time.perf_counter() - begun))
    return percentile(times, 50)
