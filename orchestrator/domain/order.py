"""The epoch order and the batch plan: which rows are used at which step, by which logical shard.

The order is a function of (number of rows, seed, epoch, window) and of nothing else: not of the platform, the
Python version or the number of workers. Nothing is stored: any position of any epoch is computed in O(1) time
and memory, so a newcomer finds its rows without asking anybody.

Algorithm: a keyed alternating Feistel network is a bijection of the b-bit integers (Luby and Rackoff, "How to
construct pseudorandom permutations from pseudorandom functions", SIAM J. Comput. 17(2), 1988; unbalanced
halves as in Schneier and Kelsey, "Unbalanced Feistel networks and block cipher design", FSE 1996). Cycle
walking narrows it to range(n): what falls outside is encrypted again until it falls inside (Black and
Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, section 3). The round function is the finaliser
of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014); the
round keys are BLAKE2b of the seed, the epoch and the purpose. A shuffle needs no secrecy.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_NUM_ROUNDS = 8
"""Even, so that the halves end where they began."""
_MIN_BITS = 6
"""A narrower network is visibly uneven: over 3 bits the 120 orders of 5 rows fail a chi-square test."""
_MASK64 = (1 << 64) - 1


class Permutation:
    """A keyed bijection of range(size), in O(1) memory."""

    def __init__(self, size: int, key: str) -> None:
        self.size = size
        bits = max(_MIN_BITS, (size - 1).bit_length())
        self.low_bits = bits // 2
        self._low_mask = (1 << self.low_bits) - 1
        high_mask = (1 << (bits - self.low_bits)) - 1
        digest = hashlib.blake2b(key.encode(), digest_size=8 * _NUM_ROUNDS, person=b"tumbler.order").digest()
        # The halves swap places after each round, so their widths alternate.
        masks = (high_mask, self._low_mask) * (_NUM_ROUNDS // 2)
        self.rounds = tuple(zip(struct.unpack(f"<{_NUM_ROUNDS}Q", digest), masks, strict=True))

    def __getitem__(self, index: int) -> int:
        """The image of `index`, which must lie in range(size)."""
        while True:
            high, low = _feistel(index >> self.low_bits, index & self._low_mask, self.rounds)
            index = (high << self.low_bits) | low
            if index < self.size:
                return index

    def index(self, image: int) -> int:
        """The inverse: the index whose image is `image`."""
        while True:
            low, high = _feistel(image & self._low_mask, image >> self.low_bits, self.rounds[::-1])
            image = (high << self.low_bits) | low
            if image < self.size:
                return image


class EpochOrder:
    """The order in which the rows of an epoch are used: one permutation of range(num_rows) per (seed, epoch).

    Without `window` the permutation is over all rows. With `window` = W rows are shuffled inside windows of W
    consecutive rows and the windows among themselves, so that W rows at a time are read from one place; the
    short last window, if there is one, may come anywhere. In epoch 0 the windows come as they lie, so that a
    run can start when the first of them is there.

    Raises ValueError where num_rows or window is less than 1.
    """

    def __init__(self, num_rows: int, seed: int, window: int | None = None) -> None:
        if num_rows < 1:
            raise ValueError(f"an epoch needs at least 1 row, got {num_rows}")
        if window is not None and window < 1:
            raise ValueError(f"a shuffle window holds at least 1 row, got {window}")
        self.num_rows = num_rows
        self.seed = seed
        self.window = num_rows if window is None else min(window, num_rows)
        self._num_windows = -(-num_rows // self.window)
        self._windows: _WindowsOfEpoch | None = None
        self._rows: _RowsOfWindow | None = None

    def row(self, epoch: int, position: int) -> int:
        """The row used at `position` of `epoch`, both counted from 0.

        Raises IndexError where position is outside range(num_rows), ValueError for a negative epoch.
        """
        if not 0 <= position < self.num_rows:
            raise IndexError(f"position {position} is outside an epoch of {self.num_rows} rows")
        if epoch < 0:
            raise ValueError(f"epochs count from 0, got {epoch}")
        windows = self._windows_of(epoch)
        number, offset = windows.locate(position)
        return number * self.window + self._rows_of(epoch, number).order[offset]

    def pieces(self, epoch: int, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """(number, begin, end): which part of the order of which window the positions `first` to `last` - 1
        of an epoch take, one piece after the other."""
        windows = self._windows_of(epoch)
        while first < last:
            number, begin = windows.locate(first)
            taken = min(last - first, self._size_of(number) - begin)
            yield number, begin, begin + taken
            first += taken

    def permutation(self, epoch: int, number: int) -> Permutation:
        """The order of the rows of one window, each counted from the window's first."""
        return self._rows_of(epoch, number).order

    def _size_of(self, number: int) -> int:
        return min(self.window, self.num_rows - number * self.window)

    def _windows_of(self, epoch: int) -> _WindowsOfEpoch:
        # Only the latest is remembered: positions are asked for in runs, and memory stays O(1).
        known = self._windows
        if known is None or known.epoch != epoch:
            order: Permutation | range = range(self._num_windows)
            if epoch > 0:
                order = Permutation(self._num_windows, f"{self.seed}:{epoch}:windows")
            last = self._num_windows - 1
            known = self._windows = _WindowsOfEpoch(
                epoch, self.window, self.num_rows - last * self.window, order, order.index(last)
            )
        return known

    def _rows_of(self, epoch: int, number: int) -> _RowsOfWindow:
        known = self._rows
        if known is None or (known.epoch, known.number) != (epoch, number):
            order = Permutation(self._size_of(number), f"{self.seed}:{epoch}:rows:{number}")
            known = self._rows = _RowsOfWindow(epoch, number, order)
        return known


class BatchPlan:
    """Which rows belong to which step and logical shard.

    An epoch is cut into batches of `global_batch` positions of the epoch order; the last one of an epoch may
    be short. A batch is cut into `logical_shards` contiguous slices whose sizes differ by at most one; in a
    short batch some may be empty. Steps count from 1, epochs and shards from 0. World size plays no part.

    Raises ValueError where a count is less than 1 or there are more logical shards than rows in a whole
    batch.
    """

    def __init__(
        self, num_rows: int, global_batch: int, logical_shards: int, seed: int, window: int | None = None
    ) -> None:
        if not 1 <= logical_shards <= global_batch:
            raise ValueError(
                f"expected 1 <= logical_shards <= global_batch, got {logical_shards} and {global_batch}"
            )
        self.order = EpochOrder(num_rows, seed, window)
        self.num_rows = num_rows
        self.global_batch = global_batch
        self.logical_shards = logical_shards
        self.steps_per_epoch = -(-num_rows // global_batch)

    def num_steps(self, epochs: int) -> int:
        """The number of steps in `epochs` whole epochs."""
        return epochs * self.steps_per_epoch

    def span(self, step: int) -> tuple[int, int, int]:
        """(epoch, first, last): the half-open range of positions of that epoch which `step` uses."""
        if step < 1:
            raise ValueError(f"steps count from 1, got {step}")
        epoch, batch = divmod(step - 1, self.steps_per_epoch)
        first = batch * self.global_batch
        return epoch, first, min(first + self.global_batch, self.num_rows)

    def rows(self, step: int, shard: int) -> list[int]:
        """The rows of logical shard `shard` at `step`, in the order in which they are used; may be empty.

        Raises IndexError where shard is outside range(logical_shards).
        """
        epoch, begin, end = self.shard_span(step, shard)
        return [self.order.row(epoch, position) for position in range(begin, end)]

    def shard_span(self, step: int, shard: int) -> tuple[int, int, int]:
        """(epoch, first, last): the half-open range of positions that logical shard `shard` uses at `step`.

        Raises IndexError where shard is outside range(logical_shards).
        """
        if not 0 <= shard < self.logical_shards:
            raise IndexError(f"shard {shard} is outside the {self.logical_shards} logical shards")
        epoch, first, last = self.span(step)
        size = last - first
        begin = first + size * shard // self.logical_shards
        return epoch, begin, first + size * (shard + 1) // self.logical_shards


@dataclass(frozen=True, slots=True)
class _WindowsOfEpoch:
    epoch: int
    window: int
    short_size: int
    """Rows in the last window of the row range, 1 to `window`."""
    order: Permutation | range
    short_slot: int
    """Which place in the order the last window of the row range takes."""

    def locate(self, position: int) -> tuple[int, int]:
        """(window number, offset inside it) of a position of the epoch."""
        before = self.short_slot * self.window
        if position < before:
            slot, offset = divmod(position, self.window)
        elif position < before + self.short_size:
            slot, offset = self.short_slot, position - before
        else:
            slot, offset = divmod(position - before - self.short_size, self.window)
            slot += self.short_slot + 1
        return self.order[slot], offset


@dataclass(frozen=True, slots=True)
class _RowsOfWindow:
    epoch: int
    number: int
    order: Permutation


def _feistel(left: int, right: int, rounds: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """All rounds; with the halves exchanged before and after and the rounds reversed it undoes itself."""
    for key, mask in rounds:
        # SplitMix64's finaliser, written out here because this loop is most of the time of a batch.
        mixed = (right + key) & _MASK64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK64
        left, right = right, left ^ ((mixed ^ (mixed >> 31)) & mask)
    return left, right
