"""The user's own function between reading and packing."""

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from orchestrator.domain.errors import DataError
from trainers.feed.bad_rows import BadRows
from trainers.feed.recipe import Recipe, load_transform

_REFUSED: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)


class Transform:
    """`data.transform`, called with one row at a time, or with exactly one file per call.

    Blocks of other sizes are never shown to it, for their borders depend on the cluster. What it gives is
    brought to `schema`; None takes the schema of what it gives.
    """

    def __init__(self, recipe: Recipe, schema: pa.Schema | None) -> None:
        self._name = recipe.transform
        self._function = load_transform(recipe)
        self._per_file = recipe.transform_per == "file"
        self._schema = schema

    def __call__(
        self, batches: Iterator[pa.RecordBatch], name: str, bad: BadRows
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one file. A row that it raises for is bad; so is, as a whole, a file."""
        if self._per_file:
            yield from self._of_file(list(batches), name, bad)
            return
        number = 0
        for batch in batches:
            rows: list[tuple[int, dict[str, Any]]] = []
            for row in batch.to_pylist():
                number += 1
                made = self._of_row(row, number, bad)
                if made is not None:
                    rows.append((number, made))
            if rows:
                yield pa.RecordBatch.from_struct_array(self._together(rows, bad))

    def _of_row(self, row: dict[str, Any], number: int, bad: BadRows) -> dict[str, Any] | None:
        assert self._function is not None
        try:
            made = self._function(row)
            if not isinstance(made, dict):
                raise TypeError(f"it gave {type(made).__name__}, expected a dict")
        except Exception as error:  # user code may raise anything
            bad.add(f"row {number}: data.transform {self._name}: {type(error).__name__}: {error}")
            return None
        return made

    def _together(self, rows: list[tuple[int, dict[str, Any]]], bad: BadRows) -> Any:
        kind = None if self._schema is None else pa.struct(list(self._schema))
        try:
            return _array([row for _, row in rows], kind)
        except _REFUSED:
            good = []
            for number, row in rows:
                try:
                    kind = _array([row], kind).type
                    good.append(row)
                except _REFUSED as error:
                    bad.add(f"row {number}: what data.transform {self._name} gave does not fit: {error}")
            return _array(good, kind)

    def _of_file(self, batches: list[pa.RecordBatch], name: str, bad: BadRows) -> Iterator[pa.RecordBatch]:
        assert self._function is not None
        if not batches:
            return
        try:
            made = self._function(pa.Table.from_batches(batches))
            if not isinstance(made, pa.Table):
                raise TypeError(f"it gave {type(made).__name__}, expected a pyarrow Table")
            if self._schema is None:
                self._schema = made.schema.remove_metadata()
            made = made.select(self._schema.names).cast(self._schema).combine_chunks()
        except DataError:
            raise
        except Exception as error:  # user code may raise anything
            bad.add(f"data.transform {self._name}: {type(error).__name__}: {error}")
            return
        yield from made.to_batches()


def _array(rows: list[dict[str, Any]], kind: pa.DataType | None) -> Any:
    if kind is not None:
        known = {field.name for field in kind}
        unknown = next((name for row in rows for name in row if name not in known), None)
        if unknown is not None:
            raise ValueError(f"the column {unknown!r} is not in the rows before")
    return pa.array(rows, kind)
