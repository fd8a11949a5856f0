"""The one composition root: which parts the service is made of, and how they live and end together."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import structlog
from fastapi import FastAPI

from api.head_watch import keep_head
from api.home_cluster import OF_THE_HOME, HomeCluster
from api.service.app import create_app
from api.service.bulletin import Bulletin
from api.service.folders import TakenNames
from api.service.overview import Overview
from api.service.parts import Parts
from api.service.point_keeper import keep_points
from api.service.points import PointCache
from api.service.prometheus import Gauges
from api.settings import Settings, check_keys
from api.webhooks.announcer import Announcer
from orchestrator.controllers.reconciler import Reconciler
from orchestrator.domain.disk import storage_errors
from orchestrator.ports.cluster import Cluster
from orchestrator.ports.record import Record
from orchestrator.ports.run_files import RunFiles
from orchestrator.services.nodes import NodeService
from orchestrator.services.runs import RunService
from orchestrator.store.run_files import RunFolders
from orchestrator.store.sql import SqlRecord

_log = structlog.get_logger()


@dataclass
class Service:
    """A service that is built; it works while `app` is in its lifespan."""

    settings: Settings
    record: Record
    cluster: Cluster
    reconciler: Reconciler
    runs: RunService
    bulletin: Bulletin
    announcer: Announcer
    points: PointCache
    app: FastAPI = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def reconciling(self) -> bool:
        return bool(self._tasks) and not self._tasks[0].done()

    @asynccontextmanager
    async def life(self, app: FastAPI) -> AsyncIterator[None]:
        """Acts while the block runs, and puts everything away after it."""
        self._start(self.reconciler.run(), "reconciler")
        self._start(self.announcer.run(), "announcer")
        self._start(keep_points(self.record, self.points), "points")
        if self.settings.ray_address in OF_THE_HOME:
            self._start(keep_head(self.settings.home), "keeper")
        try:
            yield
        finally:
            self.bulletin.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.to_thread(self.points.close)
            await self.record.close()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_tell_end)
        self._tasks.append(task)


def build(settings: Settings) -> Service:
    """Opens the record, which may have to be migrated first. Raises StorageError, SettingsError."""
    check_keys(settings)
    with storage_errors("create", settings.home):
        settings.home.mkdir(parents=True, exist_ok=True)
    return assemble(
        settings,
        SqlRecord.open(settings.db),
        HomeCluster(settings.ray_address, settings.home),
        RunFolders(),
    )


def assemble(settings: Settings, record: Record, cluster: Cluster, files: RunFiles) -> Service:
    """The same parts around any record, cluster and run directories."""
    bulletin, gauges = Bulletin(), Gauges()
    holder = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
    reconciler = _TimedReconciler(
        record,
        cluster,
        files,
        holder=holder,
        packages=settings.packages,
        on_change=lambda run_id: changed(run_id),
        policy=settings.scheduling,
        retention_days=settings.retention_days,
    )
    reconciler.round_took = gauges.round_took

    announcer = Announcer(
        settings.webhooks, record, settings.home, gauges, lambda: service.reconciling and reconciler.leads
    )

    def changed(run_id: str) -> None:
        bulletin.changed(run_id)
        announcer.changed(run_id)

    def wake(run_id: str) -> None:
        reconciler.wake()
        changed(run_id)

    def cluster_changed() -> None:
        reconciler.wake()
        bulletin.cluster_changed()

    runs = RunService(record, wake=wake)
    points = PointCache(settings.home / "cache" / "points")
    service = Service(settings, record, cluster, reconciler, runs, bulletin, announcer, points)
    parts = Parts(
        record=record,
        runs=runs,
        nodes=NodeService(record, cluster, cluster_changed),
        reconciler=reconciler,
        cluster=cluster,
        bulletin=bulletin,
        gauges=gauges,
        points=points,
        overview=Overview(record, bulletin, reconciler),
        folders=TakenNames(),
        storage=settings.storage,
        packages=settings.packages,
        host=settings.host,
        reconciling=lambda: service.reconciling,
    )
    service.app = create_app(parts, lifespan=service.life)
    return service


class _TimedReconciler(Reconciler):
    """Tells the metrics how long its rounds take."""

    round_took: Callable[[float], None]

    async def round(self) -> None:
        begun = perf_counter()
        await super().round()
        self.round_took(perf_counter() - begun)


def _tell_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a part of the service ended unexpectedly", part=task.get_name(), exc_info=error)
