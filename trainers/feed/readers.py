"""What reading one file of a format means, whatever the format."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa

from orchestrator.domain.errors import DataError
from trainers.feed.bad_rows import BadFile, BadRows

NAME: Final = "name"
TEXT: Final = "text"
ENDS: Final = "ends"
"""Beside `text`: whether the document ends with this piece; without the column each piece is a document."""
ROWS_AT_ONCE: Final = 1000
BYTES_AT_ONCE: Final = 4 << 20


@dataclass(frozen=True)
class Survey:
    """What one file holds."""

    rows: int
    """Good ones."""
    num_bytes: int
    """Of its text in UTF-8; 0 where the rows are not packed."""
    schema: pa.Schema
    """Of its rows."""


class Reader(Protocol):
    """Reads the files of one format; both methods report the same bad rows, in the same order.

    `content` is a binary file that can seek, `name` that of the file relative to its source.
    """

    def survey(self, content: Any, name: str, bad: BadRows) -> Survey:
        """Reads everything and counts. Raises BadFile where the file as a whole cannot be read."""
        ...

    def batches(self, content: Any, name: str, schema: pa.Schema, bad: BadRows) -> Iterator[pa.RecordBatch]:
        """The good rows in order, in the schema that all files of the source agreed on."""
        ...


def agreed(schemas: list[tuple[str, pa.Schema]]) -> pa.Schema:
    """The schema that holds the rows of all files, given as (name of file, its schema).

    Raises DataError where two files contradict each other.
    """
    first, found = schemas[0]
    for name, schema in schemas[1:]:
        if schema.equals(found):
            continue
        try:
            found = pa.unify_schemas([found, schema], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"the columns of {name} do not go with those of {first}: {error}") from error
    return found


def select(schema: pa.Schema, columns: tuple[str, ...]) -> pa.Schema:
    """The schema with these columns only, all where none is named; KeyError for one that is not there."""
    if not columns:
        return schema
    for name in columns:
        if name not in schema.names:
            raise KeyError(name)
    return pa.schema([schema.field(name) for name in columns])


def missing_column(name: str, known: list[str]) -> BadFile:
    return BadFile(
        f"has no column {name!r}, only {', '.join(map(repr, known)) or 'none'}",
        hint="Name one of them in data.columns or data.text_column.",
    )
