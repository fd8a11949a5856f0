"""Telling one receiver: in the order of each run, one event at a time, again until it takes it.

Nothing is kept here but how far it came: what is due is read from the record, so it costs no memory however
long a receiver is away, and nothing that happens to the service loses any of it.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

import httpx2
import structlog

from api.service.prometheus import Gauges
from api.webhooks.message import Message, message_of
from api.webhooks.standing import Failing, Standing, read_standing, write_standing
from api.webhooks.wish import Webhook
from orchestrator.domain.errors import RunNotFound, StorageError
from orchestrator.domain.events import timestamp
from orchestrator.domain.runs import Run, RunEvent
from orchestrator.ports.record import Record

_PAUSES_S: Final = (1.0, 3.0, 10.0, 30.0, 120.0, 300.0)
"""Between attempts, give or take a quarter; the last one again and again."""
_GIVES_UP_AFTER_S: Final = 3 * 86400.0
"""From then on one event is passed over, so that it does not hold up all others for ever."""
_PAGE: Final = 500
_log = structlog.get_logger()

Sleep = Callable[[float], Awaitable[object]]


class Delivery:
    """For one event loop. `due` is told of runs; `work` never ends but by being cancelled."""

    def __init__(
        self,
        wish: Webhook,
        key: bytes,
        record: Record,
        client: httpx2.AsyncClient,
        path: Path,
        gauges: Gauges,
        *,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.wish = wish
        self._key = key
        self._record = record
        self._client = client
        self._path = path
        self._gauges = gauges
        self._sleep = sleep
        self._clock = clock
        self._standing = Standing(floor="")
        self._due: dict[str, Run] = {}
        self._news = asyncio.Event()

    @property
    def floor(self) -> str:
        """Runs that changed no later need no look."""
        return self._standing.floor

    @property
    def idle(self) -> bool:
        return not self._due

    async def load(self, runs: Iterable[Run], now: str) -> None:
        """Where it was. A webhook that is new is told what happens from `now` on, of `runs` too.

        Raises StorageError.
        """
        known = await asyncio.to_thread(read_standing, self._path)
        self._due.clear()
        if known is None:
            known = Standing(floor=now, done={run.id: run.event_seq for run in runs})
            await asyncio.to_thread(write_standing, self._path, known)
        self._standing = known
        self._show()

    def due(self, runs: Iterable[Run]) -> None:
        """These changed."""
        for run in runs:
            if run.event_seq > self._standing.told(run):
                self._due[run.id] = run
        self._show()
        if self._due:
            self._news.set()

    async def raise_floor(self, floor: str, runs: Iterable[Run]) -> None:
        """All that changed until `floor` was given to `due`, and is told. Raises StorageError."""
        if self.idle and self._standing.failing is None:
            self._standing = self._standing.raised(floor, runs)
            await self._keep()

    async def work(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._due:
                run = next(iter(self._due.values()))
                try:
                    await self._tell_of(run)
                    if self._due.get(run.id) is run:
                        del self._due[run.id]
                except RunNotFound:  # somebody removed it
                    self._due.pop(run.id, None)
                except StorageError as error:
                    _log.warning("a webhook waits for the disk", webhook=self.wish.name, error=error.message)
                    await self._sleep(_PAUSES_S[0])
                self._show()

    async def _tell_of(self, run: Run) -> None:
        while True:
            after = self._standing.told(run)
            page = await self._record.events(run.id, after=after, limit=_PAGE)
            for event in page:
                if self._standing.is_due(run, event) and self.wish.wants(run, event):
                    await self._tell(event)
                    self._standing = self._standing.with_told(run.id, event.seq)
                    await self._keep()
            if page:
                self._standing = self._standing.with_told(run.id, page[-1].seq)
            if len(page) < _PAGE:
                return

    async def _tell(self, event: RunEvent) -> None:
        """Return when it was taken, or given up. Raises RunNotFound, StorageError."""
        failures, since_s = 0, self._clock()
        while True:
            run = await self._record.find(event.run_id)
            why = await self._send(message_of(run, event))
            if why is None:
                self._gauges.deliveries.labels(self.wish.name, "delivered").inc()
                self._gauges.failing.labels(self.wish.name).set(0)
                return
            self._gauges.deliveries.labels(self.wish.name, "failed").inc()
            self._gauges.failing.labels(self.wish.name).set(1)
            if failures == 0:
                _log.warning("a webhook takes nothing", webhook=self.wish.name, why=why)
                failing = Failing(since=timestamp(), why=why, run=run.name)
                self._standing = self._standing.model_copy(update={"failing": failing})
                await self._keep()
            if self._clock() - since_s > _GIVES_UP_AFTER_S:
                _log.error(
                    "a webhook never took an event", webhook=self.wish.name, run=run.name, seq=event.seq
                )
                self._gauges.deliveries.labels(self.wish.name, "dropped").inc()
                return
            pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            failures += 1
            await self._sleep(pause_s * random.uniform(0.75, 1.25))

    async def _send(self, message: Message) -> str | None:
        """None where it was taken; else why not."""
        try:
            answer = await self._client.post(
                self.wish.url, content=message.body, headers=message.headers(self._key, self._clock())
            )
        except httpx2.HTTPError as error:
            return f"{type(error).__name__}: {error}".rstrip(": ")
        return None if answer.is_success else f"it answered {answer.status_code}"

    async def _keep(self) -> None:
        await asyncio.to_thread(write_standing, self._path, self._standing)

    def _show(self) -> None:
        left = sum(max(0, run.event_seq - self._standing.told(run)) for run in self._due.values())
        self._gauges.backlog.labels(self.wish.name).set(left)
        self._gauges.failing.labels(self.wish.name).set(self._standing.failing is not None)
