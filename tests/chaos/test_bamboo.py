"""Eight runs of a service on nodes that come and go as spot instances did, in fast motion.

Needs the trace `p3-trace.csv` of Bamboo (MIT, github.com/uclasystem/bamboo), which is not part of this
repository: TUMBLER_SPOT_TRACE names the file.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from benchmarks.service_process import ServiceProcess, free_port
from cluster.invariants import check_invariants
from orchestrator.domain.goodput import goodput
from orchestrator.domain.goodput_history import Bucket
from orchestrator.domain.run_directory import RunDirectory
from tests.chaos.spot_trace import Change, read_changes

TRACE = "TUMBLER_SPOT_TRACE"
ROOT = Path(__file__).parents[2]
RUNS, STEPS = 8, 600
MOST_NODES = 6
TRACE_S = 40_920.0
DURATION_S = TRACE_S / 60
ALL_OVER_S = 1500.0
SHARE = 0.97
"""Of the time of all workers that must go into new steps, at the pace of the trace."""


def spec_of(name: str, seed: int, workers: object) -> dict[str, Any]:
    """A built-in task: shipped code lies in the session folder, which nodes of one machine share, and it was
    gone when drivers looked for it (tried)."""
    return {
        "name": name,
        "task": "language_model",
        "model": {"preset": "gpt-nano"},
        "workers": workers,
        "train": {"steps": STEPS, "global_batch": 8, "logical_shards": 8, "seed": seed},
        "checkpoint": {"every": 50, "link_every": 20},
        "retry": {"max_losses_without_progress": 50},
    }


@contextmanager
def ray_head(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, str]]:
    """A head without room for workers, and the URL of its dashboard."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Drivers are started as `python`.
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    port = free_port()
    dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **dashboard})
    try:
        yield cluster, f"http://127.0.0.1:{port}"
    finally:
        cluster.shutdown()


class Weather:
    """Adds nodes and kills them as the changes say; a killed one is told nothing before."""

    def __init__(self, cluster: Cluster) -> None:
        self.num_killed = 0
        self._cluster = cluster
        self._nodes: list[Any] = []

    def blow(self, changes: list[Change], until: Callable[[], bool]) -> None:
        begun = time.monotonic()
        for change in changes:
            if until():
                return
            time.sleep(max(0.0, change.at_s - (time.monotonic() - begun)))
            self.become(change.nodes)

    def become(self, nodes: int) -> None:
        while len(self._nodes) < nodes:
            self._nodes.append(self._cluster.add_node(num_cpus=1, wait=False))
        while len(self._nodes) > nodes:
            self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)
            self.num_killed += 1


def wait_until(done: Callable[[], bool], stop: threading.Event) -> None:
    deadline = time.monotonic() + ALL_OVER_S
    while not done():
        assert time.monotonic() < deadline, "it did not get there"
        assert not stop.wait(0.5), "the test is over"


def statuses(service: ServiceProcess) -> dict[str, str]:
    return {run["name"]: run["status"] for run in service.runs()}


def run_all(service: ServiceProcess, specs: list[dict[str, Any]], stop: threading.Event) -> None:
    for spec in specs:
        answer = service.submit(spec, str(spec["name"]))
        assert answer.status == 201, answer.body
    names = {spec["name"] for spec in specs}
    over = {"SUCCEEDED", "FAILED", "CANCELLED"}
    wait_until(lambda: all(statuses(service)[name] in over for name in names), stop)
    assert {statuses(service)[name] for name in names} == {"SUCCEEDED"}


@pytest.mark.skipif(TRACE not in os.environ, reason=f"{TRACE} names no trace")
def test_eight_runs_on_spot_nodes_end_with_their_own_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = read_changes(Path(os.environ[TRACE]), most=MOST_NODES, duration_s=DURATION_S)
    stop = threading.Event()
    with ray_head(monkeypatch) as (cluster, url):
        weather = Weather(cluster)
        weather.become(changes[0].nodes)
        service = ServiceProcess(tmp_path / "service", url).start()
        try:
            service.wait_ready()
            stormy = [spec_of(f"spot-{n}", n, "1:3") for n in range(RUNS)]
            with ThreadPoolExecutor(1) as pool:  # Ray starts nodes in the main thread only
                running = pool.submit(run_all, service, stormy, stop)
                try:
                    weather.blow(changes, until=running.done)
                    weather.become(MOST_NODES)
                    running.result()
                finally:
                    stop.set()
            calm = [spec_of(f"calm-{n}", n, 1) for n in range(RUNS)]
            run_all(service, calm, threading.Event())
        finally:
            service.end()
    runs = {run: RunDirectory(service.home / "runs" / run) for run in map("spot-{}".format, range(RUNS))}
    report(changes, weather, runs)
    for number, run in enumerate(runs.values()):
        checked = check_invariants(run)
        assert checked.problems == ()
        undisturbed = check_invariants(RunDirectory(service.home / "runs" / f"calm-{number}"))
        assert checked.parameters_sha256 == undisturbed.parameters_sha256
    assert len({check_invariants(run).parameters_sha256 for run in runs.values()}) == RUNS
    assert useful_share(list(runs.values())) >= SHARE


def useful_share(runs: list[RunDirectory], *, speed: float = TRACE_S / DURATION_S) -> float:
    """The productive share of all granted worker-seconds, had the time between two changes been as long as it
    was in the trace.

    All that a change costs is measured on real processes, and takes as long in fast motion as ever: starts,
    pauses, steps done again, waiting for places. Only the time between changes is `speed` times shorter.
    """
    spent = [goodput(run) for run in runs]
    productive = speed * sum(each.buckets[Bucket.PRODUCTIVE] for each in spent)
    cost = sum(each.worker_s - each.buckets[Bucket.PRODUCTIVE] for each in spent)
    return productive / (productive + cost)


def report(changes: list[Change], weather: Weather, runs: dict[str, RunDirectory]) -> None:
    spent = [goodput(run) for run in runs.values()]
    total = {bucket.value: round(sum(each.buckets[bucket] for each in spent), 2) for bucket in Bucket}
    found = list(runs.values())
    print(
        f"\n{len(changes)} changes in {DURATION_S:g} s, {weather.num_killed} nodes killed; worker-seconds "
        f"{total}; {sum(each.steps_repeated for each in spent)} of {RUNS * STEPS} steps repeated, "
        f"{sum(each.attempts for each in spent)} attempts; productive {useful_share(found, speed=1.0):.4f} "
        f"in fast motion, {useful_share(found):.4f} at the pace of the trace"
    )
