"""The live stream of a run as server-sent events, each with the place `E.M` from which it can be resumed.

E is the newest event of the record, M the newest record of the metrics journal that the reader has. Both are
read where they are kept, once the reader took what came before: a slow reader costs no memory, and one that
comes back misses nothing and gets nothing twice.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import dropwhile
from typing import Any, Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic_core import to_json

from api.service.bulletin import Bulletin
from api.service.logs import LogCursor, LogQuery, last_lines, next_lines
from api.service.representations import event_dict, run_dict, run_folder
from api.service.workers import Roster, roster_of, worker_dict
from orchestrator.domain.errors import BadCursor, RunNotFound, StorageError
from orchestrator.domain.journal import JournalReader
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.runs import Run
from orchestrator.ports.record import Record

LOOK_EVERY_S: Final = 0.15
"""While an attempt lives: nobody tells when the metrics journal grows."""
LOOK_SELDOM_S: Final = 1.0
"""While none does; what happens then goes through the record, which tells."""
LOGS_EVERY_S: Final = 0.5
"""Each look at what workers printed opens the files of all of them."""
HEARTBEAT_S: Final = 15.0
_PAGE: Final = 500
_PLACE: Final = re.compile(r"(\d{1,15})\.(\d{1,15})")


@dataclass(frozen=True)
class Place:
    """What a reader has."""

    event: int = 0
    metric: int = 0

    def __str__(self) -> str:
        return f"{self.event}.{self.metric}"

    @classmethod
    def parse(cls, text: str | None) -> "Place":
        """Raises BadCursor; nothing stands for the beginning."""
        if not text:
            return cls()
        match = _PLACE.fullmatch(text)
        if match is None:
            raise BadCursor(f"expected a Last-Event-ID of this stream such as 12.340, got {text!r}")
        return cls(int(match[1]), int(match[2]))


@dataclass
class RunStream:
    """One reader of one run."""

    record: Record
    bulletin: Bulletin
    run: Run
    place: Place
    logs: LogQuery | None = None
    """Which lines of workers are wanted; None: none of them."""
    log_cursor: LogCursor | None = None
    """How far the reader has them; None: what comes from now on."""
    metrics_from: int = 0
    """The step with which metrics begin, for a reader that has those before."""
    _roster: Roster = field(default_factory=Roster)
    _shown: dict[str, Any] | None = None
    _trouble: str | None = None
    _logs_read_s: float = float("-inf")

    def __post_init__(self) -> None:
        self._directory = RunDirectory(run_folder(self.run))
        self._metrics = JournalReader(self._directory.outbox, "metrics")
        self._has_those_before = self.place.metric > 0
        # Each step from the first one on has a record, so the n-th step is not before the n-th record.
        self.place = Place(self.place.event, max(self.place.metric, self.metrics_from - 1))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self.bulletin.reader(self.run.id) as news:
            self._roster = await roster_of(self.record, self.run.id, until=self.place.event)
            if self.logs is not None and self.log_cursor is None:
                self.log_cursor = await self._end_of_logs(self.logs)
            spoke_s = time.monotonic()
            while not self.bulletin.closed:
                news.clear()
                over = await self._look()
                async for message in self._news():
                    spoke_s = time.monotonic()
                    yield message
                if over:
                    yield self._message("end", self._end(gone=over == "gone"))
                    return
                if time.monotonic() - spoke_s >= HEARTBEAT_S:
                    spoke_s = time.monotonic()
                    yield KEEPALIVE_COMMENT
                await _wait(news, LOOK_EVERY_S if self.run.active else LOOK_SELDOM_S)

    async def _look(self) -> str | None:
        """Loads the run; says whether this is the last look: `over`, or `gone` where it was deleted."""
        try:
            self.run = await self.record.find(self.run.id)
        except RunNotFound:
            return "gone"
        return "over" if self.run.status.terminal else None

    async def _news(self) -> AsyncIterator[bytes]:
        """All that came since the last look; when it ends, the reader is up to date."""
        shown = run_dict(self.run)
        told = {name: value for name, value in shown.items() if name != "updated"}
        if told != self._shown:
            self._shown = told
            yield self._message("status", shown)
        async for message in self._new_events():
            yield message
        async for message in self._new_metrics():
            yield message
        now_s = time.monotonic()
        if self.logs and (self.run.status.terminal or now_s - self._logs_read_s >= LOGS_EVERY_S):
            self._logs_read_s = now_s
            async for message in self._new_logs(self.logs, self.log_cursor or LogCursor()):
                yield message

    async def _new_events(self) -> AsyncIterator[bytes]:
        while self.place.event < self.run.event_seq:
            page = await self.record.events(self.run.id, after=self.place.event, limit=_PAGE)
            if not page:
                return
            for event in page:
                changed = self._roster.take(event)
                self.place = Place(event.seq, self.place.metric)
                yield self._message("event", event_dict(event))
                for worker in changed:
                    yield self._message("worker", worker_dict(worker))

    async def _new_metrics(self) -> AsyncIterator[bytes]:
        while self._trouble is None:
            try:
                points = await asyncio.to_thread(self._metrics.read, self.place.metric, _PAGE)
            except StorageError as error:
                # Said once: reading on would leave a gap, and asking again would say it for ever.
                self._trouble = error.message
                yield self._message("trouble", {"message": error.message, "hint": error.hint})
                return
            if not points:
                return
            self.place = Place(self.place.event, points[-1]["seq"])
            kept = [{name: value for name, value in p.items() if name != "seq"} for p in self._wanted(points)]
            if kept:
                yield self._message("metric", {"points": kept})

    def _wanted(self, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All from the first one that is not before `metrics_from`: what a rewind brings back is news."""
        if not self._has_those_before:
            points = list(dropwhile(lambda point: point["step"] < self.metrics_from, points))
            self._has_those_before = bool(points)
        return points

    async def _end_of_logs(self, query: LogQuery) -> LogCursor:
        """What is there already is for GET /logs."""
        try:
            found = await asyncio.to_thread(
                last_lines, self._directory, replace(query, tail=0), self.run.attempt
            )
        except StorageError:
            return LogCursor()
        return found[1]

    async def _new_logs(self, query: LogQuery, cursor: LogCursor) -> AsyncIterator[bytes]:
        wanted = replace(query, tail=_PAGE, ended=self.run.status.terminal)
        try:
            while True:
                lines, cursor = await asyncio.to_thread(next_lines, self._directory, wanted, cursor)
                self.log_cursor = cursor
                if lines:
                    yield self._message("log", {"lines": lines, "next": cursor.text()})
                if len(lines) < _PAGE:
                    return
        except StorageError:
            return  # a file that is just being taken away; the next look shows

    def _end(self, *, gone: bool) -> dict[str, Any]:
        run = self.run
        return {"status": run.status.value, "reason": run.reason, "message": run.message, "deleted": gone}

    def _message(self, kind: str, content: Any) -> bytes:
        data = to_json(content, inf_nan_mode="strings").decode()
        return format_sse_event(data_str=data, event=kind, id=str(self.place))


async def _wait(news: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await news.wait()
