"""The record in memory: complete, quick, and gone with the process."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from orchestrator.domain.node_marks import NodeMark
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Attempt, Change, Driver, GenerationRow, Run, RunEvent
from orchestrator.domain.status import RunStatus
from orchestrator.ports.record import Added, Decide, IdempotencyKey, RunPage, RunQuery
from orchestrator.store.cursors import cursor_after, order_of, place_of
from orchestrator.store.gate import Passed, admit, move
from orchestrator.store.refusals import key_reused, lease_lost, no_run, run_exists, the_run


@dataclass
class _Kept:
    """A run and all that belongs to it."""

    run: Run
    events: list[RunEvent] = field(default_factory=list)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    drivers: dict[tuple[int, int], Driver] = field(default_factory=dict)
    generations: dict[tuple[int, int], GenerationRow] = field(default_factory=dict)


@dataclass(frozen=True)
class _Lease:
    holder: str
    token: int
    until_s: float


_NOBODY: Final = ""


class MemoryRecord:
    """Implements orchestrator.ports.record.Record, for one event loop."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._ids: dict[str, str] = {}
        """Name -> id."""
        self._keys: dict[str, tuple[str, str]] = {}
        """Idempotency key -> (SHA-256 of the body, id of the run)."""
        self._queues: dict[str, Queue] = {}
        self._lease = _Lease(_NOBODY, 0, 0.0)
        self._node_marks: dict[str, NodeMark] = {}

    async def add(self, new: Change, key: IdempotencyKey | None = None) -> Added:
        if key is not None and key.key in self._keys:
            body_sha256, run_id = self._keys[key.key]
            if body_sha256 != key.body_sha256:
                raise key_reused(key.key)
            return Added(self._kept[run_id].run, replayed=True)
        passed = admit(new)
        run = passed.run
        if run.id in self._kept or run.name in self._ids:
            raise run_exists(run.name)
        self._kept[run.id] = _Kept(run)
        self._ids[run.name] = run.id
        if key is not None:
            self._keys[key.key] = (key.body_sha256, run.id)
        self._write(passed, new)
        return Added(run, replayed=False)

    async def find(self, reference: str) -> Run:
        matches = [run for run in self._runs() if reference in (run.id, run.name)]
        matches = matches or [
            run
            for run in self._runs()
            if reference and (run.id.startswith(reference) or run.name.startswith(reference))
        ]
        run = the_run(reference, matches)
        if run is None:
            raise no_run(reference, self._ids)
        return run

    async def change(self, run_id: str, decide: Decide, *, lease: int | None = None) -> Run:
        if lease is not None and lease != self._lease.token:
            raise lease_lost()
        old = self._get(run_id).run
        decided = decide(old)
        if decided is None:
            return old
        passed = move(old, decided)
        self._write(passed, decided)
        return passed.run

    async def remove(self, run_id: str, check: Callable[[Run], None]) -> Run:
        run = self._get(run_id).run
        check(run)
        self._forget(run)
        return run

    async def page(self, query: RunQuery) -> RunPage:
        order, place = order_of(query), place_of(query)
        runs = sorted(self._matching(query), key=order.place, reverse=order.descending)
        if place is not None:
            runs = [
                run
                for run in runs
                if (order.place(run) < place if order.descending else order.place(run) > place)
            ]
        shown = tuple(runs[: query.limit])
        total = len(runs) if place is None else None
        return RunPage(shown, cursor_after(query, shown[-1]) if len(runs) > len(shown) else None, total)

    async def several(self, ids: Collection[str]) -> Sequence[Run]:
        return [self._kept[run_id].run for run_id in ids if run_id in self._kept]

    async def active(self) -> Sequence[Run]:
        return sorted((run for run in self._runs() if run.active), key=lambda run: (run.created, run.id))

    async def queue(self, *, each: int, without: Collection[str] = ()) -> Sequence[Run]:
        seen: Counter[tuple[str, int]] = Counter()
        shown = []
        for run in sorted(self._queued(), key=_turn):
            group = run.queue, run.priority
            if seen[group] < each and not (run.started is None and run.gang_claim in without):
                seen[group] += 1
                shown.append(run)
        return shown

    async def num_ahead(self, run: Run) -> int:
        return sum(_turn(other) < _turn(run) for other in self._queued())

    async def waiting(self) -> Mapping[str, int]:
        return Counter(run.queue for run in self._queued())

    async def counts(self) -> Mapping[RunStatus, int]:
        statuses = [run.status for run in self._runs()]
        return {status: statuses.count(status) for status in RunStatus}

    async def events(
        self, run_id: str, *, after: int = 0, limit: int = 500, kinds: Collection[str] = ()
    ) -> Sequence[RunEvent]:
        found = self._kept.get(run_id)
        if found is None:
            return []
        return [event for event in found.events[after:] if not kinds or event.kind in kinds][:limit]

    async def attempts(self, run_id: str) -> Sequence[Attempt]:
        found = self._kept.get(run_id)
        return [] if found is None else [found.attempts[key] for key in sorted(found.attempts)]

    async def drivers(self, run_id: str) -> Sequence[Driver]:
        found = self._kept.get(run_id)
        return [] if found is None else [found.drivers[key] for key in sorted(found.drivers)]

    async def generations(self, run_id: str) -> Sequence[GenerationRow]:
        found = self._kept.get(run_id)
        return [] if found is None else [found.generations[key] for key in sorted(found.generations)]

    async def node_marks(self) -> Mapping[str, NodeMark]:
        return dict(self._node_marks)

    async def put_node_mark(self, mark: NodeMark) -> None:
        self._node_marks[mark.id] = mark

    async def drop_node_mark(self, node_id: str) -> None:
        self._node_marks.pop(node_id, None)

    async def queues(self) -> Sequence[Queue]:
        return [self._queues[name] for name in sorted(self._queues)]

    async def put_queue(self, queue: Queue) -> None:
        self._queues[queue.name] = queue

    async def take_lease(self, holder: str, *, now_s: float, ttl_s: float) -> int | None:
        if self._lease.holder not in (holder, _NOBODY) and self._lease.until_s > now_s:
            return None
        token = self._lease.token + (self._lease.holder != holder)
        self._lease = _Lease(holder, token, now_s + ttl_s)
        return token

    async def drop_lease(self, holder: str) -> None:
        if self._lease.holder == holder:
            self._lease = _Lease(_NOBODY, self._lease.token, 0.0)

    async def prune(self, *, ended_before: str) -> list[str]:
        old = [
            run
            for run in self._runs()
            if run.status.terminal and run.ended is not None and run.ended < ended_before
        ]
        for run in old:
            self._forget(run)
        for key, (_, run_id) in list(self._keys.items()):
            if self._kept[run_id].run.created < ended_before:
                del self._keys[key]
        return [run.id for run in old]

    async def close(self) -> None:
        pass

    def _runs(self) -> Iterator[Run]:
        return (kept.run for kept in self._kept.values())

    def _queued(self) -> Iterator[Run]:
        return (run for run in self._runs() if run.status is RunStatus.QUEUED)

    def _get(self, run_id: str) -> _Kept:
        if run_id not in self._kept:
            raise no_run(run_id)
        return self._kept[run_id]

    def _write(self, passed: Passed, decided: Change) -> None:
        kept = self._kept[passed.run.id]
        kept.run = passed.run
        kept.events += passed.events
        kept.attempts |= {attempt.number: attempt for attempt in decided.attempts}
        kept.drivers |= {(driver.attempt, driver.number): driver for driver in decided.drivers}
        kept.generations |= {(formed.attempt, formed.number): formed for formed in decided.generations}

    def _forget(self, run: Run) -> None:
        del self._kept[run.id], self._ids[run.name]
        self._keys = {key: known for key, known in self._keys.items() if known[1] != run.id}

    def _matching(self, query: RunQuery) -> Iterator[Run]:
        labels = (query.labels or {}).items()
        for run in self._runs():
            if (
                (not query.statuses or run.status in query.statuses)
                and labels <= dict(run.labels).items()
                and query.queue in (None, run.queue)
                and run.name.startswith(query.name or "")
                and any((query.part or "") in text for text in (run.name, run.id))
                and (query.since is None or run.created >= query.since)
            ):
                yield run


def _turn(run: Run) -> tuple[int, str, str]:
    return -run.priority, run.queued, run.id
