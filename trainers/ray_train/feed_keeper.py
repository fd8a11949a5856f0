"""Sees to it that the feed of a run lives until its rows are all there, in a place of its own.

A task that nobody waits for, as with a worker. What becomes of it arrives as happenings: the feed has its
place, was lost, is finished, or cannot go on.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, assert_never

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from orchestrator.domain.errors import DataError, StorageError
from orchestrator.domain.events import EventKind
from orchestrator.domain.status import EndReason
from trainers.elastic.job import WorkerJob
from trainers.feed.actor import FeedActor, num_segments
from trainers.feed.run_feed import RunFeed, pinned_scan
from trainers.ray_train.happenings import (
    End,
    FeedFailed,
    FeedFinished,
    FeedLost,
    FeedPlaced,
    FeedStarted,
    GoOn,
    Happening,
    OfTheFeed,
    Verdict,
)
from trainers.ray_train.slots import SlotPool
from trainers.recorder import Recorder

_MOST_LOSSES: Final = 3
"""In a row, without a new segment."""
_BACK_OFF_S: Final = 1.0
_MOST_NAMED: Final = 20


class FeedKeeper:
    """Starts the feed as soon as the cluster grants its CPUs, and again when it is lost; writes down what
    became of it. A run without a feed has a keeper with nothing to do."""

    def __init__(
        self, job: WorkerJob, recorder: Recorder, slots: SlotPool, tell: Callable[[Happening], None]
    ) -> None:
        self._feed = job.feed
        self._cpus = job.spec.data.feed_cpus
        self._recorder = recorder
        self._slots = slots
        self._tell = tell
        self._placed = self._finished = self._feed is None or self._feed.complete
        self._actor: Any = None
        self._task: asyncio.Task[None] | None = None
        if self._feed is not None and job.attempt == 1:
            self._name_bad_rows(self._feed)

    @property
    def lets_workers_in(self) -> bool:
        """Workers would take its CPUs before it has them, and find no rows before their number is known."""
        if self._feed is None or self._finished:
            return True
        return self._placed and self._feed.num_rows is not None

    @property
    def busy(self) -> bool:
        """It has its CPUs and is at work, so whoever waits waits for it."""
        return self._placed and not self._finished

    @property
    def wish(self) -> str | None:
        """What it waits for, in half a sentence."""
        return None if self._placed else f"the data feed has no place yet; it needs {self._cpus:g} CPU"

    def begin(self) -> None:
        if not self._finished and self._feed is not None:
            self._task = asyncio.get_running_loop().create_task(self._keep(self._feed))

    def close(self) -> None:
        """End the feed. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
        self._end_actor()

    def handle(self, happening: OfTheFeed) -> Verdict:
        match happening:
            case FeedPlaced():
                self._placed = True
            case FeedStarted(pid):
                self._recorder.event(EventKind.FEED_STARTED, "the data feed starts", pid=pid)
            case FeedLost(cause, num_segments):
                message = f"the data feed was lost: {cause}; {num_segments} segments are there already"
                self._recorder.event(EventKind.FEED_LOST, message, segments=num_segments)
            case FeedFinished(num_rows, num_segments):
                self._finished = True
                message = f"the data feed is finished: all {num_rows} rows are there, its CPUs are free"
                self._recorder.event(EventKind.FEED_FINISHED, message, rows=num_rows, segments=num_segments)
            case FeedFailed(reason, message, traceback):
                return End(reason, message, traceback=traceback)
            case _:
                assert_never(happening)
        return GoOn()

    async def _keep(self, feed: RunFeed) -> None:
        place = await self._slots.take_feed(self._cpus, _here(self._cpus)) if self._cpus else None
        self._tell(FeedPlaced())
        losses, before = 0, -1
        while True:
            try:
                self._actor = self._start(feed, place)
                self._tell(FeedStarted(await self._actor.pid.remote()))
                manifest = await self._actor.fill.remote()
            except RayActorError as error:
                there = await asyncio.to_thread(num_segments, feed.folder)
                losses, before = (losses + 1 if there == before else 1), there
                if losses >= _MOST_LOSSES:
                    message = f"the data feed was lost {losses} times without a new segment"
                    self._tell(FeedFailed(EndReason.NO_PROGRESS, message))
                    return
                cause = "its node died" if "its node has died" in str(error) else "its process died"
                self._tell(FeedLost(cause, there))
                await asyncio.sleep(_BACK_OFF_S * (losses - 1))
            except Exception as error:
                self._tell(_failed(error))
                return
            else:
                self._end_actor()
                self._slots.release_feed()
                self._tell(FeedFinished(manifest.num_rows, manifest.num_segments))
                return

    def _start(self, feed: RunFeed, place: PlacementGroup | None) -> Any:
        here = ray.get_runtime_context().get_node_id()
        strategy: Any = NodeAffinitySchedulingStrategy(here, soft=True)
        if place is not None:
            strategy = PlacementGroupSchedulingStrategy(place, 0)
        actor_cls = ray.remote(num_cpus=0, max_concurrency=2)(FeedActor)
        return actor_cls.options(scheduling_strategy=strategy).remote(feed, self._cpus, place)

    def _end_actor(self) -> None:
        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = None

    def _name_bad_rows(self, feed: RunFeed) -> None:
        scan = pinned_scan(feed.run_folder)
        for part in scan.skipped[:_MOST_NAMED]:
            message = f"{part.name} {part.reason} and is left out"
            self._recorder.event(EventKind.BAD_ROW, message, file=part.name, reason=part.reason)
        if scan.num_bad_rows:
            message = f"{scan.num_bad_rows} bad rows in all are left out"
            self._recorder.event(EventKind.BAD_ROW, message, rows=scan.num_bad_rows)


def _here(cpus: float) -> dict[str, str]:
    """Labels of this node, where it has the CPUs at all; else any node will do."""
    here = ray.get_runtime_context().get_node_id()
    fits = any(node["NodeID"] == here and node["Resources"].get("CPU", 0.0) >= cpus for node in ray.nodes())
    return {ray._raylet.RAY_NODE_ID_KEY: here} if fits else {}


def _failed(error: BaseException) -> FeedFailed:
    cause = error.cause if isinstance(error, RayTaskError) else error
    match cause:
        case DataError():
            return FeedFailed(EndReason.SPEC_REFUSED, str(cause))
        case StorageError():
            return FeedFailed(EndReason.STORAGE_FAILED, str(cause))
        case _:
            return FeedFailed(EndReason.USER_ERROR, f"the data feed failed: {cause}", str(error))
