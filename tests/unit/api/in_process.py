"""The REST interface without a socket: memory record, fake cluster, and a client that calls the app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from api.service.app import create_app
from api.service.bulletin import Bulletin
from api.service.folders import TakenNames
from api.service.overview import Overview
from api.service.parts import Parts
from api.service.points import PointCache
from api.service.prometheus import Gauges
from cluster.fake import FakeCluster
from orchestrator.controllers.reconciler import Reconciler
from orchestrator.domain.lifecycle import move
from orchestrator.domain.runs import Change, Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import Record
from orchestrator.services.nodes import NodeService
from orchestrator.services.runs import RunService
from orchestrator.store.memory import MemoryRecord

URL = "http://127.0.0.1:8700"
RUNS = "/api/v1/runs"
SPEC = {"task": "language_model", "workers": "1:2", "train": {"steps": 8, "global_batch": 8}}
_WAY_TO = {
    RunStatus.RUNNING: (RunStatus.STARTING, RunStatus.RUNNING),
    RunStatus.SUCCEEDED: (RunStatus.STARTING, RunStatus.RUNNING, RunStatus.SUCCEEDED),
    RunStatus.CANCELLED: (RunStatus.CANCELLED,),
}


@dataclass
class InProcess:
    folder: Path
    record: Record
    cluster: FakeCluster
    reconciler: Reconciler
    bulletin: Bulletin
    parts: Parts
    app: FastAPI
    client: httpx2.AsyncClient
    reconciling: bool = True

    @property
    def storage(self) -> Path:
        return self.folder / "runs"

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    async def submit(self, name: str, **spec: Any) -> dict[str, Any]:
        answer = await self.client.post(RUNS, json={"name": name, **SPEC, **spec})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def moved(self, name: str, status: RunStatus, **changes: Any) -> Run:
        """The run after it went to a status, by the gate and without a cluster."""
        run = await self.record.find(name)
        for step in _WAY_TO[status]:
            run = await self.record.change(run.id, lambda old, step=step: _moved(old, step, changes))  # type: ignore[misc]
        return run

    async def round(self) -> None:
        """Time passes in the cluster, and the reconciler looks at it."""
        self.cluster.tick()
        await self.reconciler.look()
        await self.reconciler.round()


@asynccontextmanager
async def in_process(folder: Path, *cpus: float, record: Record | None = None) -> AsyncIterator[InProcess]:
    service = assembled(folder, *cpus, record=record)
    async with service.client:
        yield service


def assembled(folder: Path, *cpus: float, record: Record | None = None) -> InProcess:
    kept: Record = record or MemoryRecord()
    cluster, bulletin, gauges = FakeCluster(*(cpus or (4,))), Bulletin(), Gauges()
    reconciler = Reconciler(
        kept,
        cluster,
        cluster,
        holder="me",
        packages=folder / "packages",
        on_change=bulletin.changed,
        clock=cluster.clock,
        monotonic=cluster.monotonic,
    )
    parts = Parts(
        record=kept,
        runs=RunService(kept, wake=bulletin.changed, clock=cluster.clock),
        nodes=NodeService(kept, cluster, bulletin.cluster_changed, clock=cluster.clock),
        reconciler=reconciler,
        cluster=cluster,
        bulletin=bulletin,
        gauges=gauges,
        points=PointCache(folder / "points"),
        overview=Overview(kept, bulletin, reconciler),
        folders=TakenNames(),
        storage=folder / "runs",
        packages=folder / "packages",
        host="127.0.0.1",
        ui=folder / "ui_dist",
        reconciling=lambda: service.reconciling,
    )
    app = create_app(parts)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    client = httpx2.AsyncClient(transport=transport, base_url=URL)
    service = InProcess(folder, kept, cluster, reconciler, bulletin, parts, app, client)
    return service


def _moved(run: Run, status: RunStatus, changes: dict[str, Any]) -> Change:
    now = datetime(2026, 1, 31, 13, tzinfo=UTC)
    ended = {"ended": "2026-01-31T13:00:00.000Z"} if status.terminal else {}
    return move(run, status, now, **ended, **changes)
