"""Memory in which copies of a worker's parts lie: shared with its writer process, gone with both."""

import mmap
import os
import secrets
import threading
from collections.abc import Iterable
from typing import Final

import numpy as np
import torch

from trainers.checkpoints.held import HELD
from trainers.checkpoints.image import Slice

SLOTS: Final = HELD + 1
"""The newest copies are held, and storage may be slow with an older one."""


class Arena:
    """Slots, each as large as the image; only what is filled takes memory.

    A slot is busy while it is filled, written or checksummed, and held afterwards if it is one of the two
    newest snapshots. Thread-safe.
    """

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self.name = f"tumbler-{secrets.token_hex(8)}"
        self._slot_bytes = -(-max(num_bytes, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._file = os.memfd_create(self.name)
        os.ftruncate(self._file, self._slot_bytes * SLOTS)
        self._map = mmap.mmap(self._file, self._slot_bytes * SLOTS)
        self._memory = torch.frombuffer(self._map, dtype=torch.uint8)
        self._changed = threading.Condition()
        self._busy: dict[int, int] = {}
        """Slot -> how many still use it."""
        self._held: list[int] = []
        """Oldest first."""

    @property
    def path(self) -> str:
        """Under which another process of this user opens it, as long as this one lives."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    @property
    def holds(self) -> bool:
        """Whether there is a snapshot in it."""
        return bool(self._held)

    def take(self, timeout_s: float) -> int | None:
        """A slot that may be overwritten, busy from now on; None where there is none in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._spare() is not None, timeout_s):
                return None
            slot = self._spare()
            assert slot is not None
            if slot in self._held:
                self._held.remove(slot)
            self._busy[slot] = 1
            return slot

    def share(self, slot: int) -> None:
        """One more uses a busy slot."""
        with self._changed:
            self._busy[slot] += 1

    def give_back(self, slot: int) -> None:
        """Whoever took or shared it needs it no more."""
        with self._changed:
            self._busy[slot] -= 1
            if not self._busy[slot]:
                del self._busy[slot]
            self._changed.notify_all()

    def hold(self, slot: int) -> None:
        """What lies in it is the newest snapshot."""
        with self._changed:
            self._held = [*self._held, slot][-HELD:]
            self._changed.notify_all()

    def offset(self, slot: int) -> int:
        return slot * self._slot_bytes

    def fill(self, slot: int, slices: Iterable[Slice]) -> None:
        """Copy; lets other threads run meanwhile.

        What lies in the memory of this machine is copied by the C library: unlike torch's, its large copies
        can go past the caches (`orchestrator.checkpoints.streaming`).
        """
        for piece in slices:
            start = self.offset(slot) + piece.at
            octets = self._memory[start : start + piece.numbers.nbytes]
            if piece.numbers.is_cpu:
                np.copyto(octets.numpy(), piece.numbers.view(torch.uint8).numpy())
            else:
                octets.view(piece.numbers.dtype).copy_(piece.numbers)

    def touch(self, slot: int, begin: int, end: int) -> None:
        """Let the machine hand out the memory of a stretch of the image before it is needed."""
        offset = self.offset(slot)
        self._memory[offset + begin : offset + end].zero_()

    def close(self, timeout_s: float) -> bool:
        """When nobody uses a slot any more; whether that was in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._busy, timeout_s):
                return False
        del self._memory
        self._map.close()
        os.close(self._file)
        return True

    def _spare(self) -> int | None:
        """The older snapshot goes before memory that was never touched."""
        if len(self._held) >= HELD and self._held[0] not in self._busy:
            return self._held[0]
        return next(
            (slot for slot in range(SLOTS) if slot not in self._busy and slot not in self._held), None
        )
