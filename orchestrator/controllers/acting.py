"""Carries out what was decided: first into the record, then into the world.

Whoever dies between the two leaves a record that wants something the world has not; the next round sees that
and does it. So everything that is done to the world here may be done twice.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, assert_never

import structlog

from orchestrator.controllers.decisions import (
    Action,
    Cancel,
    End,
    Hear,
    Launch,
    MindDeadline,
    NextDriver,
    StopDriver,
)
from orchestrator.controllers.observation import ClusterWatch, Memories
from orchestrator.domain.errors import ClusterUnavailable, RunExists, TumblerError
from orchestrator.domain.events import EventKind
from orchestrator.domain.failpoints import reach
from orchestrator.domain.lifecycle import cancel
from orchestrator.domain.lifecycle_attempts import attempt_ended, deadline_passed, granted, next_driver
from orchestrator.domain.lifecycle_news import heard
from orchestrator.domain.node_marks import node_orders
from orchestrator.domain.runs import Attempt, Change, Driver, Run, submission_id
from orchestrator.domain.status import EndReason
from orchestrator.ports.cluster import Cluster, DriverOrder
from orchestrator.ports.record import Decide, Record
from orchestrator.ports.run_files import News, RunFiles

_TELL_EVERY_S: Final = 1.0
_STOP_EVERY_S: Final = 10.0
_BEAT_EVERY_S: Final = 5.0
_LAUNCHES_AWAITED_S: Final = 0.05
_log = structlog.get_logger()


@dataclass
class Hands:
    """Everything that a round changes goes through here."""

    record: Record
    cluster: Cluster
    files: RunFiles
    watch: ClusterWatch
    memories: Memories
    packages: Path
    on_change: Callable[[str], None]
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def carry_out(self, run: Run, actions: tuple[Action, ...], token: int) -> Run:
        """The run as it is then."""
        for action in actions:
            run = await self._do(run, action, token)
        return run

    async def change(self, run: Run, decide: Decide, token: int) -> Run:
        after = await self.record.change(run.id, decide, lease=token)
        if after != run:
            self.on_change(run.id)
        return after

    async def grant(self, run: Run, target: int, token: int) -> Run:
        """Begin the next attempt of a queued run."""
        after = await self.change(run, lambda newest: granted(newest, target, self.clock()), token)
        if after.active and after.attempt == run.attempt + 1:
            reach("mid-reconcile")
            return await self._start(after, token)
        return after

    async def put_orders(self, run: Run) -> None:
        """Into its run directory, unless they are there."""
        memory = self.memories.of(run)
        nodes = node_orders(self.watch.marks.values())
        wanted = (
            run.attempt,
            run.workers_min,
            run.target,
            run.checkpoint_wish,
            run.worker_wishes,
            run.stop,
            nodes,
        )
        if memory.ordered != wanted:
            await asyncio.to_thread(self.files.order, run, nodes)
            memory.ordered = wanted

    async def beat(self, run: Run) -> None:
        memory = self.memories.of(run)
        if self.monotonic() - memory.beaten_at >= _BEAT_EVERY_S:
            await asyncio.to_thread(self.files.beat, run)
            memory.beaten_at = self.monotonic()

    async def settle(self, timeout_s: float | None = _LAUNCHES_AWAITED_S) -> None:
        """Give what is under way with the cluster a moment; what takes longer goes on by itself."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _do(self, run: Run, action: Action, token: int) -> Run:
        match action:
            case Hear(news):
                return await self._hear(run, news, token)
            case End(reason, message):
                return await self._end(run, reason, message, token)
            case Launch():
                return await self._start(run, token)
            case NextDriver(message):
                return await self._replace_driver(run, message, token)
            case Cancel(message):
                return await self.change(run, lambda newest: cancel(newest, self.clock(), message), token)
            case MindDeadline():
                return await self.change(run, lambda newest: deadline_passed(newest, self.clock()), token)
            case StopDriver():
                self._stop_driver(run)
                return run
            case _:
                assert_never(action)

    async def _hear(self, run: Run, news: News, token: int) -> Run:
        memory, now = self.memories.of(run), self.clock()
        change = heard(run, news.state, news.events, now)
        if change is None:
            return run
        recent = self.monotonic() - memory.told_at < _TELL_EVERY_S
        if recent and not change.events and not news.over():
            return run
        first = any(
            happened["kind"] == EventKind.GENERATION_STARTED and happened["generation"] == 1
            for happened in news.events
        )
        attempt = (await self._rows(run))[0] if first else None
        memory.told_at = self.monotonic()
        return await self.change(
            run, lambda newest: heard(newest, news.state, news.events, now, attempt), token
        )

    async def _end(self, run: Run, reason: EndReason, message: str, token: int) -> Run:
        attempt, driver = await self._rows(run)
        assert attempt is not None, f"run {run.id} is {run.status} without an attempt"
        ended = attempt

        def one_move(newest: Run) -> Change | None:
            return attempt_ended(newest, ended, driver, reason, message, self.clock())

        while run.active and run.attempt == attempt.number:
            run = await self.change(run, one_move, token)
        return run

    async def _replace_driver(self, run: Run, message: str, token: int) -> Run:
        _, gone = await self._rows(run)
        after = await self.change(run, lambda newest: next_driver(newest, gone, message, self.clock()), token)
        if (after.attempt, after.driver) == (run.attempt, run.driver + 1):
            reach("mid-reconcile")
            return await self._start(after, token)
        return after

    async def _start(self, run: Run, token: int) -> Run:
        try:
            await asyncio.to_thread(self.files.begin, run)
        except RunExists as error:
            said = f"{error.message}; {error.hint}" if error.hint else error.message
            return await self._end(run, EndReason.SPEC_REFUSED, said, token)
        await self.put_orders(run)
        await self.beat(run)
        self.memories.of(run).launched_at_look = sys.maxsize
        self._spawn(self._launch(run))
        return run

    async def _launch(self, run: Run) -> None:
        memory, order = self.memories.of(run), self._order(run)
        try:
            await asyncio.to_thread(self.cluster.launch, order)
        except ClusterUnavailable as error:
            self.watch.lost(error)
        except TumblerError as error:
            memory.refused = f"{error.message}; {error.hint}" if error.hint else error.message
        except Exception:
            _log.exception("a driver was not launched", run_id=run.id, submission_id=order.submission_id)
        finally:
            if memory.driver == (run.attempt, run.driver):
                memory.launched_at_look = self.watch.begun

    def _stop_driver(self, run: Run) -> None:
        memory = self.memories.of(run)
        if self.monotonic() - memory.stopped_at >= _STOP_EVERY_S:
            memory.stopped_at = self.monotonic()
            self._spawn(self._stop(submission_id(run, run.driver)))

    async def _stop(self, submission: str) -> None:
        try:
            await asyncio.to_thread(self.cluster.stop, submission)
        except ClusterUnavailable as error:
            self.watch.lost(error)
        except Exception:
            _log.exception("a driver was not stopped", submission_id=submission)

    def _order(self, run: Run) -> DriverOrder:
        code = run.spec.code
        return DriverOrder(
            submission_id=submission_id(run, run.driver),
            run_folder=Path(run.storage) / run.name,
            run_name=run.name,
            attempt=run.attempt,
            driver=run.driver,
            package=None if run.package is None else self.packages / f"{run.package}.zip",
            env=dict(code.env),
            pip=code.pip,
        )

    async def _rows(self, run: Run) -> tuple[Attempt | None, Driver | None]:
        """Of the newest attempt and driver. What a decision takes from them never changes."""
        attempts = {row.number: row for row in await self.record.attempts(run.id)}
        drivers = {(row.attempt, row.number): row for row in await self.record.drivers(run.id)}
        return attempts.get(run.attempt), drivers.get((run.attempt, run.driver))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
