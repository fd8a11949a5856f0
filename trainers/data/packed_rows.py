"""Rows of fixed length, cut from the tokens of a corpus wherever they end."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import DataError
from orchestrator.domain.spec_training import DataSpec
from trainers.data.byte_tokenizer import END_OF_TEXT
from trainers.data.prepared_corpus import TOKEN_DTYPE, TOKENS_FILE, prepare, read_manifest
from trainers.data.text_corpus import resolve


class PackedRow(NamedTuple):
    """One row."""

    tokens: NDArray[np.int64]
    """Shape (context + 1,): the inputs and, shifted by one, the targets; a short row is padded at its end."""
    num_targets: int
    """How many are not padding, 1 to context."""


class PackedRows:
    """Rows `first` to `last` - 1 of a tokens file, as a map-style dataset.

    Row i holds the tokens from i * context to (i + 1) * context, both included, so each token but the very
    first is a target exactly once. The last row of the file may be short. Memory-mapped; pickles as the path.
    """

    def __init__(self, tokens_path: Path, context: int, first: int, last: int) -> None:
        self._origin = (tokens_path, context, first, last)
        self._tokens = np.memmap(tokens_path, dtype=TOKEN_DTYPE, mode="r")
        self._context = context
        self._first = first
        self._num_rows = last - first
        if not 0 <= first <= last <= count_rows(len(self._tokens), context):
            raise ValueError(f"expected rows within {tokens_path}, got {first} to {last}")

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, index: int) -> PackedRow:
        if not 0 <= index < self._num_rows:
            raise IndexError(f"row {index} is outside the {self._num_rows} rows")
        begin = (self._first + index) * self._context
        found = self._tokens[begin : begin + self._context + 1]
        tokens = np.full(self._context + 1, END_OF_TEXT, dtype=np.int64)
        tokens[: len(found)] = found
        return PackedRow(tokens, len(found) - 1)

    def __reduce__(self) -> tuple[type["PackedRows"], tuple[Path, int, int, int]]:
        return PackedRows, self._origin


def count_rows(num_tokens: int, context: int) -> int:
    """How many rows a corpus gives, a short last one included."""
    return -(-(num_tokens - 1) // context)


def text_rows(data: DataSpec, storage: Path, context: int) -> tuple[PackedRows, PackedRows | None]:
    """The training rows and the validation rows of a text corpus, prepared in `storage`.

    The last `validation_fraction` of the rows, rounded down but at least one, is for validation; 0 gives
    None.

    Raises:
        DataError: the corpus cannot be read or has too few rows for the split.
        StorageError: the storage cannot be written.
    """
    folder = prepare(resolve(data), storage)
    num_rows = count_rows(read_manifest(folder).num_tokens, context)
    num_validation = max(1, int(num_rows * data.validation_fraction)) if data.validation_fraction else 0
    num_train = num_rows - num_validation
    if num_train < 1:
        raise DataError(
            f"data.source {data.source} holds {num_rows} rows of {context} tokens, too few to hold some out",
            hint="Give it more text, lower model.context or set data.validation_fraction to 0.",
        )
    tokens = folder / TOKENS_FILE
    validation = PackedRows(tokens, context, num_train, num_rows) if num_validation else None
    return PackedRows(tokens, context, 0, num_train), validation
