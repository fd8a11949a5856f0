"""A whole service in memory: record, control loop and verbs over the fake cluster, on one clock."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.fake import FakeCluster
from orchestrator.controllers.reconciler import Reconciler
from orchestrator.domain.runs import Run, RunEvent
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import Record
from orchestrator.services.runs import RunService, Submit
from orchestrator.store.memory import MemoryRecord

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def spec_of(name: str, **content: Any) -> RunSpec:
    """100 steps in 20 turns."""
    train = {"steps": 100, "logical_shards": 8, "global_batch": 16, **content.pop("train", {})}
    defaults = {"task": "language_model", "checkpoint": {"storage": "/runs"}, "train": train}
    return RunSpec.parse({"name": name, **defaults, **content})


class World:
    def __init__(self, *cpus: float, record: Record | None = None) -> None:
        self.cluster = FakeCluster(*(cpus or (4.0,)))
        self.record = record or MemoryRecord()
        self.told: list[str] = []
        self.service = RunService(self.record, clock=self.cluster.clock)
        self.reconciler = self.new_reconciler()

    def new_reconciler(self, holder: str = "service-1", record: Record | None = None) -> Reconciler:
        """As after a restart: it remembers nothing."""
        return Reconciler(
            record or self.record,
            self.cluster,
            self.cluster,
            holder=holder,
            packages=Path("/packages"),
            on_change=self.told.append,
            clock=self.cluster.clock,
            monotonic=self.cluster.monotonic,
        )

    async def submit(self, name: str, **content: Any) -> Run:
        return (await self.service.submit(Submit(spec_of(name, **content)))).run

    async def turn(self, times: int = 1, seconds: float = 1.0) -> None:
        """Time passes in the cluster, then the service has a round that knows of it."""
        for _ in range(times):
            self.cluster.tick(seconds)
            await self.round()

    async def round(self) -> None:
        await self.reconciler.look()
        await self.reconciler.round()
        await self.reconciler.settle()

    async def until(self, name: str, *statuses: RunStatus, turns: int = 60) -> Run:
        for _ in range(turns):
            run = await self.run(name)
            if run.status in statuses:
                return run
            await self.turn()
        raise AssertionError(f"{name} is {run.status} after {turns} turns: {run.reason} {run.message}")

    async def running(self, name: str, **content: Any) -> Run:
        """A run that trains."""
        await self.submit(name, **content)
        return await self.until(name, RunStatus.RUNNING)

    async def run(self, name: str) -> Run:
        return await self.record.find(name)

    async def events(self, name: str, kind: str | None = None) -> list[RunEvent]:
        run = await self.run(name)
        events = await self.record.events(run.id, limit=10_000)
        return [event for event in events if kind is None or event.kind == kind]

    async def moves(self, name: str) -> list[str]:
        """All statuses that it was moved to."""
        return [event.facts["to"] for event in await self.events(name, "status-moved")]

    def launches(self, name: str) -> list[tuple[int, int]]:
        """(attempt, driver) of each driver that was launched for it."""
        orders = [order for order in self.cluster.launched if order.run_name == name]
        return [(order.attempt, order.driver) for order in orders]
