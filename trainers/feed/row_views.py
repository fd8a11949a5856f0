"""How the rows of one segment come out of Arrow: packed tokens, or a dict of columns.

Nothing is copied that a row does not own: arrays are read-only views of the mapped file, so that no Task can
change what a later epoch, or another worker of the node, will read.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from trainers.feed.packing import NUM_TARGETS, TOKENS, PackedRow

IMAGE_FIELDS: Final = ("height", "width", "channels", "pixels")
"""A struct of exactly these is an image; `pixels` are its bytes, row by row."""

_Reader: TypeAlias = Callable[[int], Any]
"""The value of one column at an offset."""


class RowView(Protocol):
    def row(self, offset: int) -> Any:
        """The row at `offset` of the segment."""
        ...


class PackedView:
    """Packed tokens, as one matrix over the mapped file."""

    def __init__(self, table: pa.Table) -> None:
        tokens = _whole(table.column(TOKENS))
        width = tokens.type.list_size
        self._tokens = tokens.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
        self._num_targets: list[int] = table.column(NUM_TARGETS).to_pylist()

    def row(self, offset: int) -> PackedRow:
        return PackedRow(self._tokens[offset].astype(np.int64), self._num_targets[offset])


class ColumnView:
    """Rows as dicts: numbers, text and bytes as Python's own, lists of numbers and images as arrays."""

    def __init__(self, table: pa.Table) -> None:
        self._columns = [(name, _reader(_whole(table.column(name)))) for name in table.column_names]

    def row(self, offset: int) -> dict[str, Any]:
        return {name: read(offset) for name, read in self._columns}


def view_of(table: pa.Table) -> RowView:
    return PackedView(table) if table.column_names == [TOKENS, NUM_TARGETS] else ColumnView(table)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    # combine_chunks copies, even where there is but one.
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _reader(column: pa.Array) -> _Reader:
    kind = column.type
    if pa.types.is_struct(kind) and tuple(field.name for field in kind) == IMAGE_FIELDS:
        return _present(column, _images(column))
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if is_list and (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
        return _present(column, _vectors(column))
    return lambda offset: column[offset].as_py()


def _present(column: pa.Array, read: _Reader) -> _Reader:
    """None for what is null."""
    if not column.null_count:
        return read
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    return lambda offset: read(offset) if valid[offset] else None


def _vectors(column: pa.Array) -> _Reader:
    if column.values.null_count:
        return lambda offset: column[offset].values.to_numpy(zero_copy_only=False)
    values = column.values.to_numpy(zero_copy_only=True)
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        first = column.offset
        return lambda offset: values[(first + offset) * width : (first + offset + 1) * width]
    starts = column.offsets.to_numpy()
    return lambda offset: values[starts[offset] : starts[offset + 1]]


def _images(column: pa.Array) -> _Reader:
    *sizes, pixels = (column.field(name) for name in IMAGE_FIELDS)
    shapes = np.stack([size.fill_null(0).to_numpy() for size in sizes], axis=1).tolist()

    def read(offset: int) -> Any:
        image = np.frombuffer(pixels[offset].as_buffer(), dtype=np.uint8).reshape(shapes[offset])
        image.flags.writeable = False
        return image

    return read
