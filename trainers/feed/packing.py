"""Rows of fixed length, cut from a stream of tokens wherever they end."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TOKENS: Final = "tokens"
NUM_TARGETS: Final = "num_targets"


class PackedRow(NamedTuple):
    """One row."""

    tokens: NDArray[np.int64]
    """Shape (context + 1,): the inputs and, shifted by one, the targets; a short row is padded at its end."""
    num_targets: int
    """How many are not padding, 1 to context."""


def count_rows(num_tokens: int, context: int) -> int:
    """How many rows a stream of tokens gives, a short last one included."""
    return max(0, -(-(num_tokens - 1) // context))


def token_dtype(vocabulary: int) -> "np.dtype[np.unsignedinteger]":
    """The smallest unsigned integer that holds every id."""
    return np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")


class Packer:
    """Turns a stream of tokens into tables of `rows_per_table` packed rows, the last one shorter.

    Row i holds the tokens from i * context to (i + 1) * context, both included, so each token but the very
    first is a target exactly once. The tables do not depend on how the stream is cut into pieces.
    """

    def __init__(self, context: int, rows_per_table: int, vocabulary: int, end_of_text: int) -> None:
        self._context = context
        self._rows = rows_per_table
        self._dtype = token_dtype(vocabulary)
        self._end_of_text = end_of_text
        self._pieces: list[NDArray[np.unsignedinteger]] = []
        self._num_held = 0

    def add(self, tokens: NDArray[np.unsignedinteger]) -> Iterator[pa.Table]:
        """The tables that `tokens`, the next of the stream, complete; an iterator that must be exhausted."""
        self._pieces.append(tokens.astype(self._dtype, copy=False))
        self._num_held += len(tokens)
        needed = self._rows * self._context + 1
        if self._num_held < needed:
            return
        held = np.concatenate(self._pieces)
        begin = 0
        while len(held) - begin >= needed:
            yield self._table(held[begin : begin + needed])
            begin += needed - 1
        rest = held[begin:].copy()
        self._pieces, self._num_held = [rest], len(rest)

    def finish(self) -> pa.Table | None:
        """The rows that are left when the stream is over, None if there are none."""
        if self._num_held < 2:
            return None
        return self._table(np.concatenate(self._pieces))

    def _table(self, tokens: NDArray[np.unsignedinteger]) -> pa.Table:
        num_rows = count_rows(len(tokens), self._context)
        missing = num_rows * self._context + 1 - len(tokens)
        padded = np.pad(tokens, (0, missing), constant_values=self._end_of_text)
        rows = np.lib.stride_tricks.sliding_window_view(padded, self._context + 1)[:: self._context]
        num_targets = np.full(num_rows, self._context, dtype=np.int32)
        num_targets[-1] -= missing
        flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
        return pa.table(
            {
                TOKENS: pa.FixedSizeListArray.from_arrays(flat, self._context + 1),
                NUM_TARGETS: pa.array(num_targets),
            }
        )
