"""The durable record of runs, as the service sees it.

Two keep it: `orchestrator.store.memory` (gone with the process) and `orchestrator.store.sql`. One contract
suite, `tests/unit/test_record_contract.py`, runs on both.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.node_marks import NodeMark
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Attempt, Change, Driver, GenerationRow, Run, RunEvent
from orchestrator.domain.status import RunStatus

Decide = Callable[[Run], Change | None]
"""Looks at a run and says what to write; None for nothing. Pure and quick: it runs inside the transaction."""


@dataclass(frozen=True)
class IdempotencyKey:
    """What a client calls one submit, so that sending it again makes no second run."""

    key: str
    body_sha256: str


@dataclass(frozen=True)
class Added:
    run: Run
    replayed: bool
    """The key was known: this is the run it made the first time."""


@dataclass(frozen=True)
class RunQuery:
    """Which runs to list. Every condition given must hold."""

    statuses: tuple[RunStatus, ...] = ()
    labels: Mapping[str, str] | None = None
    queue: str | None = None
    name: str | None = None
    """How the name begins."""
    part: str | None = None
    """What the name or the id contains."""
    since: str | None = None
    """Created at this time or later."""
    sort: str = "-created"
    """`created`, `name`, `priority`, `updated`; a leading dash for the greatest first."""
    limit: int = 100
    cursor: str | None = None
    """From the page before; opaque, and only good for the same sort."""


@dataclass(frozen=True)
class RunPage:
    runs: tuple[Run, ...]
    next_cursor: str | None
    """None on the last page."""
    total: int | None = None
    """How many runs match, on all pages; only the first page has it."""


class Record(Protocol):
    """All methods raise StorageError where the disk fails (DiskFull where it is full).

    What a method that writes has returned is on the disk. Readers never wait for writers.
    """

    async def add(self, new: Change, key: IdempotencyKey | None = None) -> Added:
        """A new run. Raises RunExists where the name is taken, KeyReused for a key with another body."""
        ...

    async def find(self, reference: str) -> Run:
        """By id, name, or a prefix of either that is unique. Raises RunNotFound."""
        ...

    async def change(self, run_id: str, decide: Decide, *, lease: int | None = None) -> Run:
        """Load, decide and write in one transaction; returns the run as it is then.

        The one gate for status moves: an illegal one raises ValueError and nothing is written. `version` is
        counted up here where anything but progress, outbox_seq, target or phase changed. Raises RunNotFound,
        what `decide` raises, and LeaseLost where `lease` is given and is no longer the newest.
        """
        ...

    async def remove(self, run_id: str, check: Callable[[Run], None]) -> Run:
        """Forget a run and all its rows, unless `check` raises. Raises RunNotFound."""
        ...

    async def page(self, query: RunQuery) -> RunPage:
        """Raises BadCursor for a cursor that is not of this query."""
        ...

    async def several(self, ids: Collection[str]) -> Sequence[Run]:
        """Those of at most 500 ids that are there, in no order."""
        ...

    async def active(self) -> Sequence[Run]:
        """All runs in an ACTIVE status, the oldest first."""
        ...

    async def queue(self, *, each: int, without: Collection[str] = ()) -> Sequence[Run]:
        """QUEUED runs, in a back-off too: of each queue and priority the `each` that are queued longest.

        The greatest priority first, then the longest queued. Runs that never started and have one of the
        gang claims in `without` are left out.
        """
        ...

    async def num_ahead(self, run: Run) -> int:
        """How many QUEUED runs stand before this one."""
        ...

    async def waiting(self) -> Mapping[str, int]:
        """Queue -> how many QUEUED runs are in it, where there are some."""
        ...

    async def counts(self) -> Mapping[RunStatus, int]: ...

    async def events(
        self, run_id: str, *, after: int = 0, limit: int = 500, kinds: Collection[str] = ()
    ) -> Sequence[RunEvent]:
        """Oldest first; only of these kinds where some are named."""
        ...

    async def attempts(self, run_id: str) -> Sequence[Attempt]: ...

    async def drivers(self, run_id: str) -> Sequence[Driver]: ...

    async def generations(self, run_id: str) -> Sequence[GenerationRow]: ...

    async def node_marks(self) -> Mapping[str, NodeMark]:
        """By node id, all nodes of which somebody said something."""
        ...

    async def put_node_mark(self, mark: NodeMark) -> None: ...

    async def drop_node_mark(self, node_id: str) -> None:
        """Nothing where there is none."""
        ...

    async def queues(self) -> Sequence[Queue]:
        """Those that `put_queue` was told of, by name."""
        ...

    async def put_queue(self, queue: Queue) -> None:
        """Set quota and weight of a queue, whether any run is in it or not."""
        ...

    async def take_lease(self, holder: str, *, now_s: float, ttl_s: float) -> int | None:
        """Be the one that acts until `now_s + ttl_s`; again before that to stay it. Seconds since 1970.

        Returns a token that grows with each new holder, or None while another's is still good.
        """
        ...

    async def drop_lease(self, holder: str) -> None: ...

    async def prune(self, *, ended_before: str) -> list[str]:
        """Forget runs that ended before, and idempotency keys older than that; returns the runs' ids."""
        ...

    async def close(self) -> None: ...
