"""How the rows of one segment come out of Arrow: packed tokens, or a dict of columns."""

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from trainers.feed.packing import NUM_TARGETS, TOKENS, PackedRow

IMAGE_FIELDS: Final = ("height", "width", "channels", "pixels")
"""A struct of exactly these is an image; `pixels` are its bytes, row by row."""


class RowView(Protocol):
    def row(self, offset: int) -> Any:
        """The row at `offset` of the segment."""
        ...


class PackedView:
    """Packed tokens, as one matrix over the mapped file."""

    def __init__(self, table: pa.Table) -> None:
        tokens = table.column(TOKENS).combine_chunks()
        width = tokens.type.list_size
        self._tokens = tokens.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
        self._num_targets: list[int] = table.column(NUM_TARGETS).to_pylist()

    def row(self, offset: int) -> PackedRow:
        return PackedRow(self._tokens[offset].astype(np.int64), self._num_targets[offset])


class ColumnView:
    """Rows as dicts: numbers, text and bytes as Python's own, lists of numbers and images as arrays."""

    def __init__(self, table: pa.Table) -> None:
        self._columns = [
            (name, table.column(name).combine_chunks(), _reader(table.schema.field(name).type))
            for name in table.column_names
        ]

    def row(self, offset: int) -> dict[str, Any]:
        return {name: read(column[offset]) for name, column, read in self._columns}


def view_of(table: pa.Table) -> RowView:
    return PackedView(table) if table.column_names == [TOKENS, NUM_TARGETS] else ColumnView(table)


def _reader(kind: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_struct(kind) and tuple(field.name for field in kind) == IMAGE_FIELDS:
        return _image
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
        return _vector
    return _plain


def _plain(scalar: Any) -> Any:
    return scalar.as_py()


def _vector(scalar: Any) -> Any:
    return None if not scalar.is_valid else np.array(scalar.values.to_numpy(zero_copy_only=False))


def _image(scalar: Any) -> Any:
    if not scalar.is_valid:
        return None
    shape = tuple(scalar[name].as_py() for name in IMAGE_FIELDS[:3])
    return np.frombuffer(scalar["pixels"].as_py(), dtype=np.uint8).reshape(shape).copy()
