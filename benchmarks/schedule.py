"""Benchmark `schedule`: one round of the scheduler over 10,000 queued and 500 running runs.

First the decision alone, over all of them at once: in a cluster that is full, in one where hundreds start,
and where the first in line has to preempt. Then the round as the service does it: from a record on disk, of
which it looks at the first of each queue and priority, to what is written.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Bar, Report, percentile
from cluster.fake import FakeCluster
from orchestrator.controllers.acting import Hands
from orchestrator.controllers.observation import ClusterWatch, Memories
from orchestrator.controllers.reconciler import ignore
from orchestrator.controllers.scheduler import Scheduler
from orchestrator.domain.errors import StorageError
from orchestrator.domain.events import timestamp
from orchestrator.domain.lifecycle import new_run
from orchestrator.domain.lifecycle_attempts import granted
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Change, Progress, Run
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import RunStatus
from orchestrator.ports.cluster import ClusterView, Node
from orchestrator.scheduling.planning import Plan, plan
from orchestrator.scheduling.policy import DEFAULT_POLICY
from orchestrator.store.sql import SqlRecord

ROUND_MS: Final = 200.0
NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
SETTLING: Final = 5
"""Rounds until the record is as the scheduler wants it."""
CPUS_PER_NODE: Final = 16
QUEUES: Final = {
    "default": Queue("default"),
    "nlp": Queue("nlp", {"CPU": 600.0}, 2.0),
    "vision": Queue("vision", {"workers": 400.0}),
    "batch": Queue("batch", {}, 0.5),
}


@dataclass(frozen=True)
class Scale:
    num_queued: int
    num_running: int
    num_rounds: int


FULL: Final = Scale(num_queued=10_000, num_running=500, num_rounds=30)
QUICK: Final = Scale(num_queued=2_000, num_running=100, num_rounds=5)


def run(*, quick: bool = False) -> Report:
    scale = QUICK if quick else FULL
    queued, running = drawn_runs(scale)
    held = sum(each.target for each in running)
    full, roomy = nodes(held), nodes(2 * held)
    urgent = queued[0].with_(id="urgent", priority=100, workers_min=64, workers_max=64)
    figures = {
        "full": timed(lambda: plan(queued, running, full, NOW, queues=QUEUES), scale),
        "with room for hundreds": timed(lambda: plan(queued, running, roomy, NOW, queues=QUEUES), scale),
        "with a preemption": timed(lambda: plan([urgent, *queued], running, full, NOW, queues=QUEUES), scale),
    }
    decided = plan(queued, running, roomy, NOW, queues=QUEUES)
    preempting = plan([urgent, *queued], running, full, NOW, queues=QUEUES)
    service_ms = asyncio.run(rounds_of_the_service(scale, queued, running, held))
    results: dict[str, Any] = {
        "queued": scale.num_queued,
        "running": scale.num_running,
        "nodes": len(full.nodes),
        "rounds": scale.num_rounds,
        "started in the roomy cluster": len(decided.grants),
        "preempted for a gang of 64": len(preempting.preemptions),
    }
    for name, times in {**figures, "as the service does it": service_ms}.items():
        results[f"{name}, p50 ms"] = round(percentile(times, 50), 2)
        results[f"{name}, p99 ms"] = round(percentile(times, 99), 2)
    slowest = {at: max(percentile(times, at) for times in figures.values()) for at in (50, 99)}
    size = f"{scale.num_queued} queued and {scale.num_running} running runs"
    return Report(
        "schedule",
        results,
        {},
        [
            *(
                Bar.at_most(f"decision over {size}, p{at} of the slowest case", took, ROUND_MS, "ms")
                for at, took in slowest.items()
            ),
            Bar.at_most(f"round of the service over {size}, p99", percentile(service_ms, 99), ROUND_MS, "ms"),
        ],
    )


def drawn_runs(scale: Scale) -> tuple[list[Run], list[Run]]:
    """Of a dozen sizes, in four queues, of ten priorities; those that run were measured at two sizes."""
    chance = random.Random(1)
    specs = [_spec(low, low + more) for low in (1, 2, 4, 8) for more in (0, 4, 8)]
    queued, running = [], []
    for number in range(scale.num_queued + scale.num_running):
        spec = chance.choice(specs)
        since = NOW - timedelta(seconds=chance.randrange(7200))
        name = f"run-{number}"
        made = new_run(spec.model_copy(update={"name": name}), now=since, run_id=name).run
        made = made.with_(queue=chance.choice(list(QUEUES)), priority=10 * chance.randrange(10))
        if number < scale.num_queued:
            queued.append(made)
        else:
            running.append(_training(made, chance))
    return queued, running


def nodes(num_cpus: float) -> ClusterView:
    count = -(-int(num_cpus) // CPUS_PER_NODE)
    resources = {"CPU": float(CPUS_PER_NODE)}
    return ClusterView(tuple(Node(f"n{i}", "", f"n{i}", True, i == 0, resources) for i in range(count)))


def timed(decide: Callable[[], Plan], scale: Scale) -> list[float]:
    """Milliseconds of each round, the first left out: what it parses is remembered."""
    decide()
    return [_ms(decide) for _ in range(scale.num_rounds)]


async def rounds_of_the_service(
    scale: Scale, queued: Sequence[Run], running: Sequence[Run], held: int
) -> list[float]:
    """Milliseconds of each: what waits and what trains is read, decided, and nothing is to be written."""
    with tempfile.TemporaryDirectory() as folder:
        record = SqlRecord.open(f"sqlite:///{Path(folder) / 'tumbler.db'}")
        try:
            token = await record.take_lease("benchmark", now_s=0.0, ttl_s=1e9)
            assert token is not None
            await _fill(record, queued, running)
            scheduler, watch = _scheduler(record, held)
            await watch.look()
            times = []
            for _ in range(SETTLING + scale.num_rounds):
                began = time.perf_counter()
                await scheduler.round(await record.active(), token)
                times.append(1000 * (time.perf_counter() - began))
            return times[SETTLING:]
        finally:
            await record.close()


async def _fill(record: SqlRecord, queued: Sequence[Run], running: Sequence[Run]) -> None:
    for queue in QUEUES.values():
        await record.put_queue(queue)
    for begin in range(0, len(queued), 500):
        await asyncio.gather(*(record.add(Change(each)) for each in queued[begin : begin + 500]))
    for each in running:
        waiting = each.with_(status=RunStatus.QUEUED, target=0, attempt=0, started=None)
        await record.add(Change(waiting))
        await record.change(each.id, lambda newest, each=each: granted(newest, each.target, NOW))  # type: ignore[misc]


def _scheduler(record: SqlRecord, held: int) -> tuple[Scheduler, ClusterWatch]:
    cluster = FakeCluster(*(float(CPUS_PER_NODE) for _ in range(-(-held // CPUS_PER_NODE))))
    ticks = iter(range(10**9))

    def monotonic() -> float:
        """A minute later each time it is asked, so that no round has to rest."""
        return 60.0 * next(ticks)

    watch = ClusterWatch(cluster, monotonic)
    hands = Hands(
        record, cluster, cluster, watch, Memories(), Path("/packages"), ignore, lambda: NOW, monotonic
    )
    return Scheduler(record, hands, watch, DEFAULT_POLICY, _unheard), watch


async def _unheard(run: Run, error: StorageError, token: int) -> None:
    """The runs have no run directory that could be told of their workers."""


def _spec(low: int, high: int) -> RunSpec:
    return RunSpec.parse(
        {
            "task": "language_model",
            "workers": [low, high],
            "train": {"steps": 10_000, "global_batch": 64, "logical_shards": 16},
            "checkpoint": {"storage": "/runs"},
        }
    )


def _training(made: Run, chance: random.Random) -> Run:
    target = chance.randint(made.workers_min, made.workers_max)
    progress = Progress(
        step=chance.randrange(10_000),
        total_steps=10_000,
        workers=target,
        step_s={made.workers_min: chance.uniform(0.2, 2.0), target: chance.uniform(0.1, 0.2)},
    )
    return made.with_(
        status=RunStatus.RUNNING, attempt=1, target=target, started=timestamp(NOW), progress=progress
    )


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)
