"""Parquet files."""

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainers.feed.bad_rows import BadFile, BadRows
from trainers.feed.readers import ROWS_AT_ONCE, TEXT, Survey, missing_column, select

_TEXTS: Final = pa.schema([(TEXT, pa.large_string())])
_BROKEN: Final = (pa.ArrowException, OSError, ValueError)


class ParquetReader:
    """Rows as they are; with `text_column`, only that column, in which a null is a bad row."""

    def __init__(self, columns: tuple[str, ...], text_column: str | None) -> None:
        self._columns = (text_column,) if text_column is not None else columns
        self._text_column = text_column

    def survey(self, content: Any, name: str, bad: BadRows) -> Survey:
        """Reads all only where rows may be bad one by one, or a broken file may be left out: a footer tells
        the number of the rows, and whoever reads them later holds it to its word."""
        file = _opened(content)
        schema = self._plain_schema(file)
        if self._text_column is None and not bad.skips:
            return Survey(file.metadata.num_rows, 0, schema)
        rows = num_bytes = 0
        for batch in self.batches(content, name, schema, bad):
            rows += batch.num_rows
            if self._text_column is not None:
                num_bytes += pc.sum(pc.binary_length(batch.column(0))).as_py() or 0
        return Survey(rows, num_bytes, schema)

    def batches(self, content: Any, name: str, schema: pa.Schema, bad: BadRows) -> Iterator[pa.RecordBatch]:
        file = _opened(content)
        known = self._plain_schema(file)
        num_rows = 0
        found = file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(self._columns) or None)
        while True:
            try:
                batch = next(found, None)
            except _BROKEN as error:
                raise BadFile(
                    f"is broken between row {num_rows + 1} and {file.metadata.num_rows}: {error}"
                ) from error
            if batch is None:
                return
            if self._text_column is not None:
                yield _texts(batch, num_rows, self._text_column, bad)
            else:
                yield _in_schema(batch, schema, known)
            num_rows += batch.num_rows

    def _plain_schema(self, file: Any) -> pa.Schema:
        """Of the columns that are wanted, without dictionaries and metadata."""
        try:
            found = select(file.schema_arrow, self._columns)
        except KeyError as error:
            raise missing_column(str(error.args[0]), file.schema_arrow.names) from None
        plain = pa.schema([(field.name, _plain(field.type)) for field in found])
        if self._text_column is None:
            return plain
        if plain.types[0] not in (pa.string(), pa.large_string()):
            raise BadFile(f"has no text in {self._text_column!r} but {plain.types[0]}")
        return _TEXTS


def _opened(content: Any) -> Any:
    content.seek(0)
    try:
        return pq.ParquetFile(content)
    except _BROKEN as error:
        raise BadFile(f"is no whole Parquet file: {error}") from error


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _in_schema(batch: pa.RecordBatch, schema: pa.Schema, known: pa.Schema) -> pa.RecordBatch:
    arrays = [
        batch.column(field.name).cast(field.type)
        if field.name in known.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.record_batch(arrays, schema)


def _texts(batch: pa.RecordBatch, before: int, column: str, bad: BadRows) -> pa.RecordBatch:
    texts = batch.column(0).cast(pa.large_string())
    for place in pc.indices_nonzero(pc.is_null(texts)).to_pylist():
        bad.add(f"row {before + place + 1} has no text in {column!r}")
    return pa.record_batch([texts.drop_null()], _TEXTS)
