"""JSON lines: each line that is not blank is an object, and that is a row."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from trainers.feed.bad_rows import BadRows
from trainers.feed.readers import (
    BYTES_AT_ONCE,
    ROWS_AT_ONCE,
    TEXT,
    Survey,
    missing_column,
    select,
)

_TEXTS: Final = pa.schema([(TEXT, pa.large_string())])
_REFUSED: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)
_Numbered = tuple[int, dict[str, Any]]


class JsonTexts:
    """One text per line, from the field `column`; a line without such a text is bad."""

    def __init__(self, column: str) -> None:
        self._column = column

    def survey(self, content: Any, name: str, bad: BadRows) -> Survey:
        rows = num_bytes = 0
        for batch in self.batches(content, name, _TEXTS, bad):
            rows += batch.num_rows
            num_bytes += pc.sum(pc.binary_length(batch.column(0))).as_py() or 0
        return Survey(rows=rows, num_bytes=num_bytes, schema=_TEXTS)

    def batches(self, content: Any, name: str, schema: pa.Schema, bad: BadRows) -> Iterator[pa.RecordBatch]:
        for rows in _objects(content, bad):
            texts = [text for number, row in rows if (text := self._text(number, row, bad)) is not None]
            yield pa.record_batch([pa.array(texts, pa.large_string())], _TEXTS)

    def _text(self, number: int, row: dict[str, Any], bad: BadRows) -> str | None:
        text = row.get(self._column)
        if not isinstance(text, str):
            bad.add(f"row {number} has no text in {self._column!r}")
            return None
        try:
            text.encode()
        except UnicodeEncodeError:
            bad.add(f"row {number} has half a surrogate pair in {self._column!r}")
            return None
        return text


class JsonRows:
    """Objects as rows. A field that some lines lack is null there; types follow from all values."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns

    def survey(self, content: Any, name: str, bad: BadRows) -> Survey:
        known = pa.schema([])
        num_rows = 0
        for rows in _objects(content, bad):
            try:
                known = _unified(known, [row for _, row in rows])
                num_rows += len(rows)
            except _REFUSED:
                for number, row in rows:
                    try:
                        known = _unified(known, [row])
                        num_rows += 1
                    except _REFUSED as error:
                        bad.add(f"row {number} does not go with the rows before: {error}")
        try:
            schema = select(known, self._columns) if num_rows else known
        except KeyError as error:
            raise missing_column(str(error.args[0]), known.names) from None
        return Survey(rows=num_rows, num_bytes=0, schema=schema)

    def batches(self, content: Any, name: str, schema: pa.Schema, bad: BadRows) -> Iterator[pa.RecordBatch]:
        kind = pa.struct(list(schema))
        for rows in _objects(content, bad):
            yield pa.RecordBatch.from_struct_array(_converted(rows, kind, bad))


def _converted(rows: list[_Numbered], kind: pa.DataType, bad: BadRows) -> Any:
    try:
        return pa.array([row for _, row in rows], kind)
    except _REFUSED:
        good = []
        for number, row in rows:
            try:
                pa.array([row], kind)
                good.append(row)
            except _REFUSED as error:
                bad.add(f"row {number} does not go with the rows before: {error}")
        return pa.array(good, kind)


def _unified(known: pa.Schema, rows: list[dict[str, Any]]) -> pa.Schema:
    schema = pa.schema(list(pa.array(rows).type))
    return pa.unify_schemas([known, schema], promote_options="permissive")


def _objects(content: Any, bad: BadRows) -> Iterator[list[_Numbered]]:
    """The objects of a file with the numbers of their lines, counted from 1, at most 1,000 at once."""
    content.seek(0)
    rows: list[_Numbered] = []
    size = 0
    for number, line in enumerate(content, start=1):
        row = _parsed(line, number, bad)
        if row is not None:
            rows.append((number, row))
            size += len(line)
        if len(rows) == ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _parsed(line: bytes, number: int, bad: BadRows) -> dict[str, Any] | None:
    if line.isspace():
        return None
    try:
        row = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        bad.add(f"row {number} is no JSON: {error}")
        return None
    if not isinstance(row, dict):
        bad.add(f"row {number} is no JSON object")
        return None
    return row


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")
