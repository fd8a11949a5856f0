"""Columns of numbers, in memory or one file each: what the tables of points are kept in.

A value that is not there is a NaN of its own bits, so that a loss that became NaN stays what it is.
"""

import os
import struct
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
_ABSENT_BITS: Final = 0x7FF8_0000_7475_6D62
ABSENT: Final[float] = struct.unpack("<d", struct.pack("<Q", _ABSENT_BITS))[0]
_SIZE: Final = 8
_SMALLEST: Final = 64
_MOST_PICKED: Final = 5000
"""Of more rows, all between them are read: as quick, and simpler."""


def present(values: Floats) -> NDArray[np.bool_]:
    """Which of them are there."""
    found: NDArray[np.bool_] = values.view(np.uint64) != _ABSENT_BITS
    return found


class Columns(Protocol):
    """By number, each from row 0 on. Whoever writes knows how many rows count."""

    def read(self, column: int, first: int, last: int) -> Floats:
        """Rows `first` to `last` (not included), all written before."""
        ...

    def pick(self, column: int, rows: Rows) -> Floats:
        """Single rows, written before."""
        ...

    def write(self, column: int, first: int, values: Floats) -> None: ...

    @property
    def num_bytes(self) -> int:
        """Of memory."""
        ...


class MemoryColumns:
    def __init__(self) -> None:
        self._columns: dict[int, Floats] = {}

    def read(self, column: int, first: int, last: int) -> Floats:
        return self._columns[column][first:last]

    def pick(self, column: int, rows: Rows) -> Floats:
        return self._columns[column][rows]

    def write(self, column: int, first: int, values: Floats) -> None:
        known = self._columns.get(column, np.empty(0))
        end = first + len(values)
        if end > len(known):
            grown = np.empty(max(end, 2 * len(known), _SMALLEST))
            grown[: len(known)] = known
            known = self._columns[column] = grown
        known[first:end] = values

    @property
    def num_bytes(self) -> int:
        return sum(column.nbytes for column in self._columns.values())


class FileColumns:
    """In a folder that is there; raises OSError where the disk fails."""

    num_bytes = 0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, column: int, first: int, last: int) -> Floats:
        values = np.fromfile(self.path(column), "<f8", count=last - first, offset=first * _SIZE)
        if len(values) != last - first:
            raise OSError(f"{self.path(column)} is shorter than it should be")
        return values

    def pick(self, column: int, rows: Rows) -> Floats:
        if len(rows) > _MOST_PICKED:
            begin = int(rows.min())
            return self.read(column, begin, int(rows.max()) + 1)[rows - begin]
        path = self.path(column)
        with path.open("rb", buffering=0) as file:
            content = [os.pread(file.fileno(), _SIZE, row * _SIZE) for row in rows.tolist()]
        if any(len(value) != _SIZE for value in content):
            raise OSError(f"{path} is shorter than it should be")
        return np.frombuffer(b"".join(content), "<f8")

    def write(self, column: int, first: int, values: Floats) -> None:
        # Where rows before are missing the file was damaged, and must not get a hole in their place.
        path = self.path(column)
        with path.open("r+b" if first or path.exists() else "w+b") as file:
            if file.seek(0, os.SEEK_END) < first * _SIZE:
                raise OSError(f"{self.path(column)} is shorter than it should be")
            file.seek(first * _SIZE)
            file.write(np.ascontiguousarray(values, "<f8").tobytes())

    def path(self, column: int) -> Path:
        return self._folder / f"{column:04d}.f64"
