"""Memory in which a copy of a worker's parts waits for its writer: shared with that process, gone with
both."""

import mmap
import os
import queue
from typing import Final

import torch

from trainers.checkpoints.image import Slice

_SLOTS: Final = 2
"""One is being written while the other is filled."""


class Arena:
    """Slots, each as large as the image; only what is filled takes memory."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._slot_bytes = -(-max(num_bytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._file = os.memfd_create("tumbler-checkpoint")
        os.ftruncate(self._file, self._slot_bytes * _SLOTS)
        self._map = mmap.mmap(self._file, self._slot_bytes * _SLOTS)
        self._memory = torch.frombuffer(self._map, dtype=torch.uint8)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(_SLOTS):
            self._free.put(slot)

    @property
    def path(self) -> str:
        """Under which another process of this user opens it, as long as this one lives."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    def take(self, timeout_s: float) -> int:
        """A free slot. Raises queue.Empty where none becomes free in time."""
        return self._free.get(timeout=timeout_s)

    def give_back(self, slot: int) -> None:
        self._free.put(slot)

    def offset(self, slot: int) -> int:
        return slot * self._slot_bytes

    def fill(self, slot: int, slices: list[Slice]) -> None:
        """Copy; lets other threads run meanwhile."""
        for piece in slices:
            start = self.offset(slot) + piece.at
            self._memory[start : start + piece.numbers.nbytes].view(piece.numbers.dtype).copy_(piece.numbers)

    def close(self, timeout_s: float) -> None:
        """When all slots are free. Raises queue.Empty where they are not in time."""
        for _ in range(_SLOTS):
            self.take(timeout_s)
        del self._memory
        self._map.close()
        os.close(self._file)
