"""All webhooks of a service: finds what changed, and lets each tell its receiver."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx2
import structlog

from api.service.prometheus import Gauges
from api.webhooks.delivery import Delivery
from api.webhooks.standing import standing_path
from api.webhooks.wish import Webhook
from orchestrator.domain.errors import StorageError
from orchestrator.domain.events import timestamp, utc_now
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import Record, RunQuery

_TIMEOUT_S: Final = 10.0
_TOGETHER_S: Final = 0.25
"""What happens within is looked at in one look."""
_LOOK_ANYWAY_S: Final = 5.0
_BEHIND: Final = timedelta(seconds=30)
"""A change is on record so much after its time at the latest."""
_RAISED_EVERY_S: Final = 60.0
_PAGE: Final = 200
_LIVING: Final = tuple(status for status in RunStatus if not status.terminal)
_log = structlog.get_logger()


class Announcer:
    """`changed` may be called as often as you like, from the event loop."""

    def __init__(
        self, wishes: Sequence[Webhook], record: Record, home: Path, gauges: Gauges, leads: Callable[[], bool]
    ) -> None:
        """`leads` says whether this service acts: of several on one record only that one tells."""
        self._wishes = wishes
        self._record = record
        self._home = home
        self._gauges = gauges
        self._leads = leads
        self._news = asyncio.Event()

    def changed(self, run_id: str) -> None:
        self._news.set()

    async def run(self) -> None:
        """Until cancelled; at once where nobody wants to be told."""
        if not self._wishes:
            return
        # What redirects could lead to is not what the operator wrote.
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client:
            while True:
                while not self._leads():
                    await asyncio.sleep(_TOGETHER_S)
                deliveries = [self._delivery(wish, client) for wish in self._wishes]
                try:
                    await self._lead(deliveries)
                except StorageError as error:
                    _log.warning("webhooks wait for the disk", error=error.message)
                    await asyncio.sleep(1.0)

    def _delivery(self, wish: Webhook, client: httpx2.AsyncClient) -> Delivery:
        path = standing_path(self._home, wish.name)
        return Delivery(wish, wish.key(), self._record, client, path, self._gauges)

    async def _lead(self, deliveries: Sequence[Delivery]) -> None:
        """As long as this service acts. Raises StorageError."""
        living = await self._living()
        for delivery in deliveries:
            await delivery.load(living, timestamp())
        tasks = [asyncio.create_task(one.work(), name=f"webhook {one.wish.name}") for one in deliveries]
        try:
            await self._look(deliveries, min(one.floor for one in deliveries))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, deliveries: Sequence[Delivery], floor: str) -> None:
        raised_s = asyncio.get_running_loop().time()
        while self._leads():
            self._news.clear()
            safe = timestamp(utc_now() - _BEHIND)
            changed = await self._changed_since(floor)
            for delivery in deliveries:
                delivery.due(changed)
            floor = max(floor, safe)
            now_s = asyncio.get_running_loop().time()
            if now_s - raised_s >= _RAISED_EVERY_S:
                raised_s, living = now_s, await self._living()
                for delivery in deliveries:
                    await delivery.raise_floor(safe, [*living, *changed])
            await asyncio.sleep(_TOGETHER_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout=_LOOK_ANYWAY_S)

    async def _changed_since(self, floor: str) -> list[Run]:
        """The first to change first."""
        found: list[Run] = []
        cursor = None
        while True:
            page = await self._record.page(RunQuery(sort="-updated", limit=_PAGE, cursor=cursor))
            new = [run for run in page.runs if run.updated >= floor]
            found += new
            cursor = page.next_cursor
            if len(new) < len(page.runs) or cursor is None:
                return found[::-1]

    async def _living(self) -> list[Run]:
        """All runs that are not over."""
        found: list[Run] = []
        cursor = None
        while True:
            page = await self._record.page(RunQuery(statuses=_LIVING, limit=_PAGE, cursor=cursor))
            found += page.runs
            cursor = page.next_cursor
            if cursor is None:
                return found
