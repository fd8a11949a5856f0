"""How tensors get from one member of a group to another: gloo between CPUs, NCCL between GPUs."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeAlias

import torch
from torch.distributed import ProcessGroup, ProcessGroupGloo, Store

Messages: TypeAlias = list[tuple[torch.Tensor, int]]
"""(tensor, peer)"""
CONNECT_TIMEOUT = timedelta(seconds=2)
"""All members have just said that they are here; a connection that takes longer means that one died
meanwhile."""


_NOBODY_SENDS = 1 << 20
"""A tag that no message has."""


class GlooTransport:
    """Point-to-point messages over TCP between CPU tensors."""

    def __init__(self, store: Store, rank: int, size: int, host: str, timeout: timedelta):
        options: Any = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        options._timeout = CONNECT_TIMEOUT
        options._devices = [ProcessGroupGloo.create_device(hostname=host, lazy_init=False)]
        group: Any = ProcessGroupGloo(store, rank, size, options)
        self._group: Any = group
        self._peer = (rank + 1) % size

    def start(self, sends: Messages, receives: Messages, tag: int) -> list[Any]:
        return [
            *(self._group.recv([tensor], peer, tag) for tensor, peer in receives),
            *(self._group.send([tensor], peer, tag) for tensor, peer in sends),
        ]

    def wake(self) -> None:
        """From any thread. A receive that runs into its timeout makes gloo close all connections of the
        group, which no call of its own does."""
        with suppress(RuntimeError, AttributeError):  # it was closed meanwhile
            self._group.recv([torch.empty(1)], self._peer, _NOBODY_SENDS).wait(timedelta(milliseconds=1))

    def close(self) -> None:
        self._group = None


class NcclTransport:
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

    def start(self, sends: Messages, receives: Messages, tag: int) -> list[Any]:
        """Does all of it: NCCL knows no tags, so what overlaps must begin in the same order everywhere."""
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
        return []

    def wake(self) -> None:
        self.close()

    def close(self) -> None:
        self._backend.abort()
        self._group = None
