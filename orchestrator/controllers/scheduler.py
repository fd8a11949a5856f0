"""The scheduling part of a round: look at all who wait and all who train, decide, and carry it out.

Who shrinks or leaves is told before anybody gets more, so that no place is granted twice.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from orchestrator.controllers.acting import Hands
from orchestrator.controllers.observation import ClusterWatch
from orchestrator.domain.errors import StorageError
from orchestrator.domain.lifecycle_attempts import deadline_passed, is_overtime, preempted, retargeted
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Change, Run
from orchestrator.ports.cluster import ClusterView, Node
from orchestrator.ports.record import Record
from orchestrator.scheduling.planning import Plan, plan
from orchestrator.scheduling.policy import Policy
from orchestrator.scheduling.sentences import never_fits

QUEUE_SEEN: Final = 20
"""So many waiting runs of each queue and priority are looked at in a round, without those that can never fit;
whoever stands behind them is not first anyway."""
_HOPELESS_KNOWN: Final = 1000
_SCHEDULING_SHARE: Final = 0.05
"""Of the time: while thousands are submitted, looking through the queue must not hold them up. What it takes
to carry out a decision is not counted."""

OnStorageError = Callable[[Run, StorageError, int], Awaitable[None]]


class Scheduler:
    def __init__(
        self,
        record: Record,
        hands: Hands,
        watch: ClusterWatch,
        policy: Policy,
        on_storage_error: OnStorageError,
    ) -> None:
        self._record = record
        self._hands = hands
        self._watch = watch
        self._policy = policy
        self._on_storage_error = on_storage_error
        self._plan = Plan()
        self._hopeless: dict[str, str] = {}
        """Gang claims that can never fit on the nodes there are now, and why."""
        self._hopeless_on: tuple[Node, ...] = ()
        self._fits: dict[str, str | None] = {}
        """Gang claim -> why it never fits, of those that were submitted since the nodes were seen."""
        self._fits_on: ClusterView | None = None
        self._rest_until = float("-inf")
        """Before that nobody is scheduled."""
        self._seen_all = True
        """The plan looked at everybody who waits."""
        self.queues: Mapping[str, Queue] = {}
        """Those with a quota or weight, as they were in the last round."""
        self._settles_at: dict[str, float] = {}
        """Run id -> until then it keeps the workers that it got, where nobody needs them."""

    async def round(self, living: Sequence[Run], token: int) -> bool:
        """Whether somebody trains now, or may."""
        begun = self._hands.monotonic()
        if begun < self._rest_until:
            return True
        active = {run.id: run for run in living}
        queued = await self._decide(tuple(living), token)
        decided = self._hands.monotonic()
        await self._carry_out({run.id: run for run in queued}, active, token)
        self._rest_until = self._hands.monotonic() + (decided - begun) / _SCHEDULING_SHARE
        return bool(active) or bool(self._plan.grants)

    def why(self, run: Run) -> str | None:
        """Why it waits, or has fewer workers than it could use; None where nobody knows, or neither is so."""
        if not run.active and (never := self.never_fits(run)) is not None:
            return never  # whoever goes before it
        said = self._plan.waits.get(run.id) or self._plan.shares.get(run.id)
        if said is not None or run.active:
            return said
        if (said := self._hopeless.get(run.gang_claim)) is not None or self._seen_all:
            return said
        return f"at least {QUEUE_SEEN} runs of queue {run.queue} with the same priority go before it"

    @property
    def reasons(self) -> Mapping[str, str]:
        """Run id -> why it waits, or has no more workers: of those that the plan looked at."""
        return {**self._plan.shares, **self._plan.waits}

    def never_fits(self, run: Run) -> str | None:
        """Why the nodes can never hold it; None where they can, or were not seen. Asked at each submit and
        of each run that is shown."""
        view = self._watch.view
        if view is None or not self._watch.there:
            return None
        if self._fits_on is not view:
            self._fits, self._fits_on = {}, view
        claim = run.gang_claim
        if claim not in self._fits:
            if len(self._fits) >= _HOPELESS_KNOWN:
                self._fits.clear()
            self._fits[claim] = never_fits(run, view)
        return self._fits[claim]

    async def _decide(self, living: Sequence[Run], token: int) -> list[Run]:
        """Sets the plan; returns those who wait. Who can never fit is left out the next time, until the nodes
        change: any number of them must not hide the others."""
        view = self._watch.view if self._watch.there else None
        if view is not None and view.nodes != self._hopeless_on:
            self._hopeless, self._hopeless_on = {}, view.nodes
        while True:
            waiting = await self._record.queue(each=QUEUE_SEEN, without=self._hopeless if view else ())
            queued = [run for run in waiting if not await self._ended_by_deadline(run, token)]
            self._plan = Plan() if view is None else await self._planned(queued, living, view)
            groups = Counter((run.queue, run.priority) for run in waiting)
            self._seen_all = max(groups.values(), default=0) < QUEUE_SEEN
            known_before = len(self._hopeless)
            if known_before < _HOPELESS_KNOWN:
                self._hopeless |= self._plan.hopeless
            if self._seen_all or len(self._hopeless) == known_before:
                return queued

    async def _planned(self, queued: Sequence[Run], living: Sequence[Run], view: ClusterView) -> Plan:
        self.queues = {queue.name: queue for queue in await self._record.queues()}
        now_s = self._hands.monotonic()
        self._settles_at = {run_id: at for run_id, at in self._settles_at.items() if at > now_s}
        return await asyncio.to_thread(
            plan,
            queued,
            living,
            view,
            self._hands.clock(),
            queues=self.queues,
            policy=self._policy,
            unsettled=frozenset(self._settles_at),
        )

    async def _carry_out(self, queued: dict[str, Run], active: dict[str, Run], token: int) -> None:
        decided = self._plan
        fewer = {
            run_id: target for run_id, target in decided.targets.items() if target < active[run_id].target
        }
        for run_id, target in fewer.items():
            await self._retarget(active[run_id], target, token)
        for run_id, message in decided.preemptions.items():
            await self._order(active[run_id], _leaving(message, self._hands.clock), token)
        for run_id, target in decided.targets.items():
            if run_id not in fewer:
                await self._retarget(active[run_id], target, token)
        for run_id, target in decided.grants.items():
            await self._grant(queued[run_id], target, token)

    async def _ended_by_deadline(self, run: Run, token: int) -> bool:
        if not is_overtime(run, self._hands.clock()):
            return False
        await self._hands.change(run, lambda newest: deadline_passed(newest, self._hands.clock()), token)
        return True

    async def _grant(self, run: Run, target: int, token: int) -> None:
        self._settle(run)
        try:
            await self._hands.grant(run, target, token)
        except StorageError as error:
            await self._on_storage_error(run, error, token)

    async def _retarget(self, run: Run, target: int, token: int) -> None:
        self._settle(run)
        await self._order(run, lambda newest: retargeted(newest, target, self._hands.clock()), token)

    async def _order(self, run: Run, decide: Callable[[Run], Change | None], token: int) -> None:
        """Into the record, and at once into the run directory."""
        try:
            after = await self._hands.change(run, decide, token)
            if after.active and after != run:
                await self._hands.put_orders(after)
        except StorageError as error:
            await self._on_storage_error(run, error, token)

    def _settle(self, run: Run) -> None:
        self._settles_at[run.id] = self._hands.monotonic() + self._policy.settle_s


def _leaving(message: str, clock: Callable[[], datetime]) -> Callable[[Run], Change | None]:
    return lambda newest: preempted(newest, message, clock())
