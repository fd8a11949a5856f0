"""CSV files: a first line of column names, then a row per record."""

import csv
import io
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from trainers.feed.bad_rows import BadFile, BadRows
from trainers.feed.readers import BYTES_AT_ONCE, ROWS_AT_ONCE, TEXT, Survey, missing_column

_TEXTS: Final = pa.schema([(TEXT, pa.large_string())])
_LADDER: Final = (pa.null(), pa.int64(), pa.float64(), pa.large_string())
"""A column has the first of these types that holds all its values; an empty field is null but in text."""
_LONGEST_FIELD: Final = 1 << 30


class CsvReader:
    """Records as rows; with `text_column`, only that column, as text."""

    def __init__(self, columns: tuple[str, ...], text_column: str | None) -> None:
        self._columns = (text_column,) if text_column is not None else columns
        self._is_text = text_column is not None

    def survey(self, content: Any, name: str, bad: BadRows) -> Survey:
        rows = num_bytes = 0
        names: list[str] = []
        rungs: list[int] = []
        for names, columns in self._columns_of(content, bad):
            rungs = rungs or [0] * len(names)
            rows += len(columns[0])
            if self._is_text:
                num_bytes += pc.sum(pc.binary_length(columns[0])).as_py() or 0
            else:
                rungs = [_climb(rung, column) for rung, column in zip(rungs, columns, strict=True)]
        if self._is_text:
            return Survey(rows, num_bytes, _TEXTS)
        fields = [(name, _LADDER[rung]) for name, rung in zip(names, rungs, strict=True)]
        return Survey(rows, num_bytes, pa.schema(fields))

    def batches(self, content: Any, name: str, schema: pa.Schema, bad: BadRows) -> Iterator[pa.RecordBatch]:
        for names, columns in self._columns_of(content, bad):
            if self._is_text:
                yield pa.record_batch(columns, _TEXTS)
                continue
            found = dict(zip(names, columns, strict=True))
            size = len(columns[0])
            arrays = [
                _cast(found[field.name], field.type) if field.name in found else pa.nulls(size, field.type)
                for field in schema
            ]
            yield pa.record_batch(arrays, schema)

    def _columns_of(self, content: Any, bad: BadRows) -> Iterator[tuple[list[str], list[Any]]]:
        """(names, columns of text) of the columns that are wanted, at most 1,000 rows at once."""
        csv.field_size_limit(_LONGEST_FIELD)
        content.seek(0)
        text = io.TextIOWrapper(content, "utf-8-sig", errors="surrogateescape", newline="")
        records = csv.reader(text, strict=True)
        header = _header(records)
        wanted = self._columns or tuple(header)
        for column in wanted:
            if column not in header:
                raise missing_column(column, header)
        places = [header.index(column) for column in wanted]
        for rows in _rows(records, len(header), bad):
            columns = [pa.array([row[place] for row in rows], pa.large_string()) for place in places]
            yield list(wanted), columns


def _header(records: Iterator[list[str]]) -> list[str]:
    try:
        header = next(records, [])
    except csv.Error as error:
        raise BadFile(f"has no line of column names: {error}") from error
    if not header:
        raise BadFile("has no line of column names")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise BadFile(f"names the column {twice[0]!r} twice")
    return header


def _rows(records: Iterator[list[str]], width: int, bad: BadRows) -> Iterator[list[list[str]]]:
    rows: list[list[str]] = []
    size = number = 0
    while True:
        number += 1
        try:
            row = next(records, None)
        except csv.Error as error:
            bad.add(f"row {number} is no CSV: {error}")
            continue
        if row is None:
            break
        if not row:
            number -= 1  # a blank line
        elif _is_good(row, number, width, bad):
            rows.append(row)
            size += sum(map(len, row))
        if len(rows) == ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _is_good(row: list[str], number: int, width: int, bad: BadRows) -> bool:
    if len(row) != width:
        bad.add(f"row {number} has {len(row)} fields, expected {width}")
        return False
    try:
        for field in row:
            field.encode()
    except UnicodeEncodeError:
        bad.add(f"row {number} is no UTF-8")
        return False
    return True


def _climb(rung: int, column: Any) -> int:
    for higher in range(rung, len(_LADDER) - 1):
        try:
            _cast(column, _LADDER[higher])
            return higher
        except pa.ArrowInvalid:
            continue
    return len(_LADDER) - 1


def _cast(column: Any, kind: pa.DataType) -> Any:
    if kind == pa.large_string():
        return column
    known = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.large_string()), column)
    if pa.types.is_null(kind):
        if known.null_count < len(known):
            raise pa.ArrowInvalid("there are values")
        return pa.nulls(len(known))
    return known.cast(kind)
