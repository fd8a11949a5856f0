"""The elastic group: the process group across replicas, made anew for every generation.

It is an object of ours and never torch's default group: that one belongs to a single replica and lives as
long as the replica does, so that meshes built on it survive a change of membership. Only point-to-point
messages are used; a group that is dropped closes its connections, and that wakes every peer that waits for
one of its members.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import torch
from torch.distributed import PrefixStore, ProcessGroup, ProcessGroupGloo, Store, TCPStore

from trainers.elastic.messages import Offer

_CONNECT_TIMEOUT = timedelta(seconds=2)
"""All members have just said that they are here; a connection that takes longer means that one died
meanwhile."""
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
        socket.create_connection(place, timeout=_CONNECT_TIMEOUT.total_seconds()).close()
        return TCPStore(
            self._offer.store_host,
            self._offer.store_port,
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=_NO_ANSWER_S),
        )


class ElasticGroup:
    """The members of one generation, connected. Raises `GroupBrokenError` from any call when a member is
    lost."""

    def __init__(self, store: Store, rank: int, size: int, *, backend: str, host: str, timeout_s: float):
        self.rank = rank
        self.size = size
        self._transport: _GlooTransport | _NcclTransport | None = None
        if size > 1:
            try:
                transport = _NcclTransport if backend == "nccl" else _GlooTransport
                self._transport = transport(store, rank, size, host, timedelta(seconds=timeout_s))
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
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def exchange(self, outgoing: Sequence[torch.Tensor], incoming: Sequence[torch.Tensor]) -> None:
        """Send `outgoing[r]` to each peer r and fill `incoming[r]` from it; the own places are ignored."""
        self._run(
            sends=[(t, peer) for peer, t in enumerate(outgoing) if peer != self.rank],
            receives=[(t, peer) for peer, t in enumerate(incoming) if peer != self.rank],
        )

    def gather(self, mine: torch.Tensor) -> list[torch.Tensor]:
        """Everybody's `mine` (same shape and type on all ranks), by rank."""
        everybody = [torch.empty_like(mine) for _ in range(self.size)]
        everybody[self.rank].copy_(mine)
        self.exchange([mine] * self.size, everybody)
        return everybody

    def send(self, tensors: Sequence[torch.Tensor], peer: int) -> None:
        self._run(sends=[(t, peer) for t in tensors], receives=[])

    def receive(self, tensors: Sequence[torch.Tensor], peer: int) -> None:
        """Fill `tensors`, in the order in which `peer` sends them."""
        self._run(sends=[], receives=[(t, peer) for t in tensors])

    def _run(self, sends: list[tuple[torch.Tensor, int]], receives: list[tuple[torch.Tensor, int]]) -> None:
        if not sends and not receives:
            return
        if self._transport is None:
            raise GroupBrokenError("the group is closed")
        try:
            self._transport.run(sends, receives)
        except RuntimeError as error:
            self.close()
            raise GroupBrokenError(str(error).splitlines()[0]) from error


class _GlooTransport:
    """Point-to-point messages over TCP between CPU tensors."""

    def __init__(self, store: Store, rank: int, size: int, host: str, timeout: timedelta):
        options: Any = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        options._timeout = _CONNECT_TIMEOUT
        options._devices = [ProcessGroupGloo.create_device(hostname=host, lazy_init=False)]
        group: Any = ProcessGroupGloo(store, rank, size, options)
        self._group: Any = group
        self._timeout = timeout

    def run(self, sends: list[tuple[torch.Tensor, int]], receives: list[tuple[torch.Tensor, int]]) -> None:
        work = [self._group.recv([tensor], peer, 0) for tensor, peer in receives]
        work += [self._group.send([tensor], peer, 0) for tensor, peer in sends]
        for item in work:
            item.wait(self._timeout)

    def close(self) -> None:
        self._group = None


class _NcclTransport:
    """The same between CUDA tensors. Written against torch 2.13's interface; UNTESTED, no GPU was at hand."""

    def __init__(self, store: Store, rank: int, size: int, host: str, timeout: timedelta):
        from torch.distributed import ProcessGroupNCCL

        self._device = torch.device("cuda", torch.cuda.current_device())
        options: Any = ProcessGroupNCCL.Options()
        options._timeout = timeout
        options.config.blocking = 0
        backend: Any = ProcessGroupNCCL(store, rank, size, options)
        group: Any = ProcessGroup(store, rank, size)
        group._register_backend(self._device, ProcessGroup.BackendType.NCCL, backend)
        backend.eager_connect_single_device(self._device)
        self._backend, self._group = backend, group

    def run(self, sends: list[tuple[torch.Tensor, int]], receives: list[tuple[torch.Tensor, int]]) -> None:
        # Some state lives on the host even in a GPU run (Adam's step counts): it travels over the device.
        arriving = [(tensor, tensor.to(self._device), peer) for tensor, peer in receives]
        leaving = [(tensor.to(self._device), peer) for tensor, peer in sends]
        self._group._start_coalescing(self._device)
        for _, staged, peer in arriving:
            self._group.recv([staged], peer, 0)
        for staged, peer in leaving:
            self._group.send([staged], peer, 0)
        self._group._end_coalescing(self._device).wait()
        torch.cuda.current_stream().synchronize()
        for tensor, staged, _ in arriving:
            if tensor is not staged:
                tensor.copy_(staged)

    def close(self) -> None:
        self._backend.abort()
        self._group = None
