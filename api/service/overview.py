"""The live stream over all runs: what changes from now on, for whoever has just asked for the list.

One task reads what changed and says it to all readers, so that a change costs one look at the record however
many pages are open, and nothing is read while none is. A slow reader finds the newest state of each run.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic_core import to_json

from api.service.bulletin import Bulletin, Changes
from api.service.waits import Waits, listed_dict
from orchestrator.domain.runs import Run
from orchestrator.ports.record import Record

GATHER_S: Final = 0.05
"""What changes within that time is read and told together."""
PROGRESS_EVERY_S: Final = 0.5
"""Of each run, unless something else than its progress changed."""
LOOK_EVERY_S: Final = 1.0
"""At the cluster, and at why runs wait: nobody tells when a node comes or goes, or a decision changes."""
HEARTBEAT_S: Final = 15.0
_AT_ONCE: Final = 500
_HELLO: Final = b"retry: 1000\n: what changes from now on\n\n"
_CLUSTER: Final = "cluster"
_log = structlog.get_logger()


@dataclass
class _Reader:
    pending: dict[str, bytes] = field(default_factory=dict)
    """By run id, or `cluster`: the newest message of each that it did not take yet."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self) -> bytes:
        taken = b"".join(self.pending.values())
        self.pending.clear()
        self.news.clear()
        return taken


class Overview:
    """For one event loop."""

    def __init__(
        self,
        record: Record,
        bulletin: Bulletin,
        waits: Waits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._bulletin = bulletin
        self._waits = waits
        self._monotonic = monotonic
        self._numbers = itertools.count(1)
        self._readers: list[_Reader] = []
        self._teller: asyncio.Task[None] | None = None

    async def stream(self, *, resumed: bool) -> AsyncIterator[bytes]:
        """Messages until the service ends. Who comes back is told to ask for the list again: what changed
        meanwhile is not kept."""
        reader = _Reader()
        self._readers.append(reader)
        if self._teller is None:
            self._teller = asyncio.create_task(self._tell(), name="overview")
        try:
            yield _HELLO + (self._message("reset", {}) if resumed else b"")
            while not self._bulletin.closed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.news.wait(), HEARTBEAT_S)
                yield reader.take() or KEEPALIVE_COMMENT
        finally:
            self._readers = [other for other in self._readers if other is not reader]
            if not self._readers and self._teller is not None:
                self._teller.cancel()
                self._teller = None

    async def _tell(self) -> None:
        with self._bulletin.reader_of_all() as changes:
            memory, seen, reasons = _Told(self._monotonic), self._cluster(), self._waits.reasons
            while not self._bulletin.closed:
                runs, cluster = await _gathered(changes, memory.next_in_s())
                now = self._cluster()
                if cluster or now != seen:
                    seen = now
                    self._say(_CLUSTER, _CLUSTER, {})
                before, reasons = reasons, self._waits.reasons
                runs |= _differing(before, reasons)
                try:
                    await self._tell_of([*(runs | memory.held)], memory)
                except Exception:
                    _log.exception("what changed could not be told, it is tried again")
                    changes.runs |= runs
                    await asyncio.sleep(LOOK_EVERY_S)
                    changes.news.set()
        for reader in self._readers:
            reader.news.set()

    async def _tell_of(self, ids: list[str], memory: "_Told") -> None:
        for some in (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)):
            found = {run.id: run for run in await self._record.several(some)}
            for run_id in set(some) - found.keys():
                memory.held.discard(run_id)
                self._say(run_id, "gone", {"id": run_id})
            for run in memory.due(found.values()):
                self._say(run.id, "run", listed_dict(run, self._waits))

    def _cluster(self) -> object:
        """Differs when the nodes do."""
        return self._waits.last_view, self._waits.cluster_trouble is None

    def _say(self, key: str, kind: str, content: Any) -> None:
        message = self._message(kind, content)
        for reader in self._readers:
            reader.pending[key] = message
            reader.news.set()

    def _message(self, kind: str, content: Any) -> bytes:
        data = to_json(content, inf_nan_mode="strings").decode()
        return format_sse_event(data_str=data, event=kind, id=str(next(self._numbers)))


class _Told:
    """When the runs were told of, for a moment: progress is held back where it comes too often."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._told: dict[str, tuple[float, object]] = {}
        self.held: set[str] = set()

    def due(self, runs: Iterable[Run]) -> list[Run]:
        """Those to be told of now; the others are held."""
        now = self._monotonic()
        self._told = {key: told for key, told in self._told.items() if now - told[0] < PROGRESS_EVERY_S}
        due = []
        for run in runs:
            told, standing = self._told.get(run.id), (run.version, run.phase, run.target)
            if told is not None and told[1] == standing:
                self.held.add(run.id)
            else:
                self.held.discard(run.id)
                self._told[run.id] = now, standing
                due.append(run)
        return due

    def next_in_s(self) -> float:
        """Until the first of those held is due, or the cluster is looked at."""
        oldest = min((self._told[run_id][0] for run_id in self.held if run_id in self._told), default=None)
        if oldest is None:
            return LOOK_EVERY_S
        return min(LOOK_EVERY_S, max(0.0, oldest + PROGRESS_EVERY_S - self._monotonic()))


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> set[str]:
    """The keys under which they do not have the same."""
    return {key for key, _ in one.items() ^ other.items()}


async def _gathered(changes: Changes, timeout_s: float) -> tuple[set[str], bool]:
    with suppress(TimeoutError):
        await asyncio.wait_for(changes.news.wait(), timeout_s)
        await asyncio.sleep(GATHER_S)
    return changes.take()
