"""The elastic group: the process group across replicas, made anew for every generation.

It is an object of ours and never torch's default group: that one belongs to a single replica and lives as
long as the replica does, so that meshes built on it survive a change of membership. Only point-to-point
messages are used; a group that is dropped closes its connections, and that wakes every peer that waits for
one of its members.

Messages may be under way while the caller computes: gloo moves them in a thread of its own. It lets go of a
tensor before a transfer is dropped, and the connections live as long as any transfer, so closing a group
drops all of its transfers.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import torch
from torch.distributed import PrefixStore, Store, TCPStore

from trainers.elastic.messages import Offer
from trainers.elastic.transport import CONNECT_TIMEOUT, GlooTransport, Messages, NcclTransport

_LOOK_UP_EVERY_S = 0.003
_NO_ANSWER_S = 10.0
"""A store answers from a thread of its own, whatever its process computes."""


class GroupBrokenError(Exception):
    """A member is gone, or did not come: this generation is over."""

    def __init__(self, reason: str, absent: tuple[str, ...] = ()):
        super().__init__(reason)
        self.reason = reason
        self.absent = absent


class SupersededError(Exception):
    """A newer generation was offered while this one was still meeting."""


def open_meeting_place(host: str) -> TCPStore:
    """A store served by this process at `host` only, kept open as long as the object lives.

    Every worker opens one: a generation meets at its first member's, so that no single place must outlive the
    others.
    """
    listener = socket.create_server((host, 0))
    port = listener.getsockname()[1]
    return TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())


class Meeting:
    """Members of a generation meet at the store of the first one.

    The calls to the store run in a thread of their own: its host may be frozen, and then they never return.
    """

    def __init__(
        self,
        offer: Offer,
        rank: int,
        patience_s: float,
        connections: dict[tuple[str, int], TCPStore] | None = None,
    ):
        """`connections` are those to places of earlier generations; the one that is used is kept there."""
        self._connections = {} if connections is None else connections
        self._offer = offer
        self._rank = rank
        self._patience_s = patience_s
        self._keys = [f"here/{member}" for member in range(len(offer.members))]
        self._answered_at: float | None = None
        self._over = threading.Event()
        self._store: Store | None = None
        self._present = [False] * len(offer.members)
        self._failure: Exception | None = None

    def join(self, superseded: Callable[[], bool]) -> Store:
        """Say "here" and wait until every member of the generation has; returns the store of the generation.

        Raises `SupersededError` when a newer generation is offered meanwhile, `GroupBrokenError` naming those
        who did not come in time, or whose store does not answer.
        """
        begun = time.monotonic()
        threading.Thread(target=self._meet, name="meeting", daemon=True).start()
        try:
            while not self._over.wait(_LOOK_UP_EVERY_S):
                if superseded():
                    raise SupersededError
                now = time.monotonic()
                if now - (self._answered_at or begun) > min(self._patience_s, _NO_ANSWER_S):
                    raise GroupBrokenError("the meeting place does not answer", self._offer.members[:1])
                if now - begun > self._patience_s:
                    absent = [
                        m for m, here in zip(self._offer.members, self._present, strict=True) if not here
                    ]
                    raise GroupBrokenError(f"not everybody came in {self._patience_s:g} s", tuple(absent))
        finally:
            self._over.set()
        if self._failure is not None:
            raise GroupBrokenError(f"the meeting place is gone: {self._failure}") from self._failure
        assert self._store is not None
        return self._store

    def _meet(self) -> None:
        try:
            place = (self._offer.store_host, self._offer.store_port)
            # Taken out while in use: one that fails or never answers is not used again.
            connection = self._connections.pop(place, None) or self._connect()
            store = PrefixStore(f"generation/{self._offer.generation}", connection)
            store.set(self._keys[self._rank], "1")
            # A look-up now and then, not the store's own wait: one that times out spoils the connection for
            # the calls that come after it.
            while not self._over.is_set():
                self._present = [
                    here or store.check([key]) for here, key in zip(self._present, self._keys, strict=True)
                ]
                self._answered_at = time.monotonic()
                if all(self._present):
                    self._store = store
                    self._connections[place] = connection
                    break
                time.sleep(_LOOK_UP_EVERY_S)
        except (RuntimeError, OSError) as error:
            self._failure = error
        self._over.set()

    def _connect(self) -> TCPStore:
        # A place that is gone refuses at once; the store itself would go on trying.
        place = (self._offer.store_host, self._offer.store_port)
        socket.create_connection(place, timeout=CONNECT_TIMEOUT.total_seconds()).close()
        return TCPStore(
            self._offer.store_host,
            self._offer.store_port,
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=_NO_ANSWER_S),
        )


class Transfer:
    """Messages under way. Their tensors are in use until `wait` has returned or the group is closed."""

    def __init__(self, group: "ElasticGroup", work: Sequence[Any], timeout: timedelta):
        self._group = group
        self._work = deque(work)
        self._timeout = timeout
        self._over = not work

    def wait(self) -> None:
        """Raises `GroupBrokenError` when a member is lost; the group is closed then. A second call does
        nothing."""
        if self._over:
            return
        if not self._work:
            raise GroupBrokenError("the group is closed")
        try:
            with self._group.waiting():
                while self._work:
                    self._work[0].wait(self._timeout)
                    self._work.popleft()
        except RuntimeError as error:
            self._group.close()
            raise GroupBrokenError(str(error).splitlines()[0]) from error
        self._over = True
        self._group.arrived(self)

    def drop(self) -> None:
        self._work.clear()


class ElasticGroup:
    """The members of one generation, connected. Raises `GroupBrokenError` from any call when a member is
    lost."""

    def __init__(self, store: Store, rank: int, size: int, *, backend: str, host: str, timeout_s: float):
        self.rank = rank
        self.size = size
        self._transport: GlooTransport | NcclTransport | None = None
        self._timeout = timedelta(seconds=timeout_s)
        self._transfers: list[Transfer] = []
        if size > 1:
            try:
                transport = NcclTransport if backend == "nccl" else GlooTransport
                self._transport = transport(store, rank, size, host, self._timeout)
            except RuntimeError as error:
                raise GroupBrokenError(f"could not connect: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; members that still wait for us wake with an error."""
        for transfer in self._transfers:
            transfer.drop()
        self._transfers.clear()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def start_exchange(
        self, outgoing: Sequence[torch.Tensor], incoming: Sequence[torch.Tensor], tag: int = 0
    ) -> Transfer:
        """Begin to send `outgoing[r]` to each peer r and to fill `incoming[r]` from it; the own places are
        ignored. Messages of one tag arrive in the order in which they were sent."""
        return self._start(
            sends=[(t, peer) for peer, t in enumerate(outgoing) if peer != self.rank],
            receives=[(t, peer) for peer, t in enumerate(incoming) if peer != self.rank],
            tag=tag,
        )

    def exchange(self, outgoing: Sequence[torch.Tensor], incoming: Sequence[torch.Tensor]) -> None:
        """`start_exchange`, and wait for it."""
        self.start_exchange(outgoing, incoming).wait()

    def gather(self, mine: torch.Tensor) -> list[torch.Tensor]:
        """Everybody's `mine` (same shape and type on all ranks), by rank."""
        everybody = [torch.empty_like(mine) for _ in range(self.size)]
        everybody[self.rank].copy_(mine)
        self.exchange([mine] * self.size, everybody)
        return everybody

    def send(self, tensors: Sequence[torch.Tensor], peer: int) -> None:
        self._start(sends=[(t, peer) for t in tensors], receives=[]).wait()

    def receive(self, tensors: Sequence[torch.Tensor], peer: int) -> None:
        """Fill `tensors`, in the order in which `peer` sends them."""
        self._start(sends=[], receives=[(t, peer) for t in tensors]).wait()

    def waiting(self) -> AbstractContextManager[None]:
        """Entered while other members are waited for."""
        return nullcontext()

    def arrived(self, transfer: Transfer) -> None:
        """All messages of a transfer are there."""
        self._transfers.remove(transfer)

    def _start(self, sends: Messages, receives: Messages, tag: int = 0) -> Transfer:
        if not sends and not receives:
            return Transfer(self, (), self._timeout)
        if self._transport is None:
            raise GroupBrokenError("the group is closed")
        try:
            transfer = Transfer(self, self._transport.start(sends, receives, tag), self._timeout)
        except RuntimeError as error:
            self.close()
            raise GroupBrokenError(str(error).splitlines()[0]) from error
        self._transfers.append(transfer)
        return transfer
