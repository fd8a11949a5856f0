"""The control loop: observe, decide, act. One pass is a round.

It may die at any point and begin again on the same record: what a round decides, it decides anew from what
is there. Of several services on one record the one with the lease acts; the others stand by.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic as process_monotonic
from typing import Final

import structlog

from orchestrator.controllers.acting import Hands
from orchestrator.controllers.decisions import decide, decide_blindly
from orchestrator.controllers.observation import ClusterWatch, Memories, news_of, sight_of
from orchestrator.controllers.scheduler import Scheduler
from orchestrator.domain.errors import LeaseLost, StorageError
from orchestrator.domain.events import timestamp, utc_now
from orchestrator.domain.lifecycle_attempts import seconds_since
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.cluster import Cluster, ClusterView
from orchestrator.ports.record import Record
from orchestrator.ports.run_files import News, RunFiles
from orchestrator.scheduling.policy import DEFAULT_POLICY, Policy

LEASE_TTL_S: Final = 3.0
_LEASE_RENEWED_S: Final = 1.0
_ROUND_S: Final = 0.2
_IDLE_ROUND_S: Final = 1.0
_PRUNE_EVERY_S: Final = 3600.0
_log = structlog.get_logger()


def ignore(run_id: str) -> None:
    """Nobody wants to know."""


class Reconciler:
    def __init__(
        self,
        record: Record,
        cluster: Cluster,
        files: RunFiles,
        *,
        holder: str,
        packages: Path,
        on_change: Callable[[str], None] = ignore,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = process_monotonic,
        policy: Policy = DEFAULT_POLICY,
        retention_days: float = 90.0,
        round_s: float = _ROUND_S,
    ) -> None:
        """`holder` names this process in the lease. Ended runs are forgotten after `retention_days`; 0 keeps
        them."""
        self._record = record
        self._files = files
        self._holder = holder
        self._on_change = on_change
        self._clock = clock
        self._monotonic = monotonic
        self._retention_days = retention_days
        self._round_s = round_s
        self._watch = ClusterWatch(cluster, monotonic)
        self._memories = Memories()
        self._hands = Hands(
            record, cluster, files, self._watch, self._memories, packages, on_change, clock, monotonic
        )
        self._scheduler = Scheduler(record, self._hands, self._watch, policy, self._storage_failed)
        self._token: int | None = None
        self._token_at = float("-inf")
        self._pruned_at = monotonic()
        self._busy = False
        self._woken = asyncio.Event()

    # what others ask

    def wake(self) -> None:
        """Something changed: begin the next round at once."""
        self._woken.set()

    @property
    def leads(self) -> bool:
        """Whether this service acts on its record, and no other one."""
        return self._token is not None

    @property
    def cluster_trouble(self) -> str | None:
        """Why Ray is away; None while it answers."""
        return self._watch.trouble

    @property
    def last_view(self) -> ClusterView | None:
        return self._watch.view

    def wait_of(self, run: Run) -> str | None:
        """Why a run waits, or trains with fewer workers than it could use, in one sentence; None where nobody
        knows, or neither is so."""
        if run.status is RunStatus.RUNNING:
            return self._scheduler.why(run)
        if run.status not in (RunStatus.QUEUED, RunStatus.STARTING):
            return None
        if run.not_before is not None and run.not_before > timestamp(self._clock()):
            left_s = -seconds_since(run.not_before, self._clock())
            return f"attempt {run.attempt} ended {run.reason}; the next one starts in {left_s:.0f} s"
        memory = self._memories.of_runs.get(run.id)
        if run.status is RunStatus.STARTING and memory is not None and memory.trouble is not None:
            return memory.trouble
        if self._watch.trouble is not None:
            return self._watch.trouble
        if run.status is RunStatus.STARTING:
            return run.phase or None
        return self._scheduler.why(run)

    def warning_of(self, run: Run) -> str | None:
        """Why the cluster as it is can never hold a run that was just submitted; None where it can."""
        return self._scheduler.never_fits(run)

    @property
    def reasons(self) -> Mapping[str, str]:
        """Run id -> what `wait_of` says, as far as the last decision was about it."""
        return self._scheduler.reasons

    @property
    def queues(self) -> Mapping[str, Queue]:
        """Those with a quota or weight, as they were in the last round."""
        return self._scheduler.queues

    # the loop

    async def run(self) -> None:
        """Rounds until cancelled. What goes wrong in one of them ends none but it."""
        try:
            while True:
                self._woken.clear()
                try:
                    await self.round()
                except Exception:
                    _log.exception("a round of the reconciler failed")
                await self._pause()
        finally:
            self._watch.stop()
            self._hands.stop()
            with contextlib.suppress(StorageError):
                await self._record.drop_lease(self._holder)

    async def round(self) -> None:
        """One turn of the loop, on a page."""
        token = await self._lease()
        if token is None:
            self._busy = False
            return
        try:
            await self._look_at_cluster()
            self._watch.marks = await self._record.node_marks()
            active = await self._record.active()
            self._memories.keep_only({run.id for run in active})
            told = await asyncio.gather(*(news_of(self._files, run) for run in active))
            for run, news in zip(active, told, strict=True):
                await self._mind(run, news, token)
            # Only a round makes a run active: where none was, none is.
            living = await self._record.active() if active else ()
            self._busy = await self._scheduler.round(living, token)
            await self._hands.settle()
            await self._prune()
        except LeaseLost:
            _log.warning("another service acts on this record now, this one stands by")
            self._token = None
            self._memories.of_runs.clear()

    async def look(self) -> None:
        """Ask the cluster now and wait for its answer, instead of leaving that to the background."""
        await self._watch.look()

    async def settle(self) -> None:
        """Wait for what is under way with the cluster."""
        await self._hands.settle(None)

    # the parts of a round

    async def _lease(self) -> int | None:
        if self._token is None or self._monotonic() - self._token_at >= _LEASE_RENEWED_S:
            self._token_at = self._monotonic()
            self._token = await self._record.take_lease(
                self._holder, now_s=self._clock().timestamp(), ttl_s=LEASE_TTL_S
            )
        return self._token

    async def _look_at_cluster(self) -> None:
        first = self._watch.begun == 0
        self._watch.look_if_due()
        if first:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._watch.look(), timeout=_IDLE_ROUND_S)

    async def _mind(self, run: Run, news: News | Exception, token: int) -> None:
        """Decide about one run, and act. Whatever goes wrong with it does no harm to the others."""
        memory = self._memories.of(run)
        try:
            if isinstance(news, Exception):
                raise news
            sight = sight_of(run, news, self._watch, memory)
            run = await self._hands.carry_out(run, decide(sight, self._clock()), token)
            if run.active and news.state is not None and news.state.attempt == run.attempt:
                await self._hands.put_orders(run)
                await self._hands.beat(run)
            memory.trouble = None
        except LeaseLost:
            raise
        except StorageError as error:
            await self._storage_failed(run, error, token)
        except Exception:
            _log.exception("a run could not be minded", run_id=run.id)

    async def _storage_failed(self, run: Run, error: StorageError, token: int) -> None:
        memory = self._memories.of(run)
        if memory.trouble is None:
            _log.warning("the storage of a run fails", run_id=run.id, error=error.message)
            memory.trouble_since = self._monotonic()
        memory.trouble = error.message
        for_s = self._monotonic() - memory.trouble_since
        with contextlib.suppress(StorageError):  # the record's own disk: the next round tries again
            await self._hands.carry_out(run, decide_blindly(run, error.message, for_s, self._clock()), token)

    async def _prune(self) -> None:
        due = self._monotonic() - self._pruned_at >= _PRUNE_EVERY_S
        if due and self._retention_days > 0:
            self._pruned_at = self._monotonic()
            before = timestamp(self._clock() - timedelta(days=self._retention_days))
            forgotten = await self._record.prune(ended_before=before)
            _log.info("runs were forgotten", num_runs=len(forgotten), ended_before=before)
            for run_id in forgotten:
                self._on_change(run_id)

    async def _pause(self) -> None:
        """Five rounds a second while something trains; else one a second, or at once when woken."""
        await asyncio.sleep(self._round_s)
        if not self._busy:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), timeout=_IDLE_ROUND_S - self._round_s)
