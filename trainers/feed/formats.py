"""From one file to Arrow record batches: read, transformed and, where rows are packed, tokenised."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
import pyarrow as pa

from orchestrator.domain.errors import DataError
from trainers.feed.bad_rows import BadFile, BadRows
from trainers.feed.content import must_be_unchanged, verified
from trainers.feed.csv_rows import CsvReader
from trainers.feed.cutting import FILE
from trainers.feed.documents import BytesReader, DocumentReader
from trainers.feed.images import ImageReader
from trainers.feed.jsonl import JsonRows, JsonTexts
from trainers.feed.packing import TOKENS
from trainers.feed.parquet import ParquetReader
from trainers.feed.readers import ENDS, TEXT, Reader
from trainers.feed.recipe import Recipe
from trainers.feed.sources import STDLIB, filesystem_of
from trainers.feed.tokenizers import ByteTokenizer, Tokenizer, load_tokenizer
from trainers.feed.transforms import Transform

if TYPE_CHECKING:
    from trainers.feed.scan import Scan, ScannedFile


def reader_of(recipe: Recipe) -> Reader:
    """What reads the files of a recipe."""
    text_column = recipe.text_column if recipe.is_packed and not recipe.transform else None
    match recipe.format:
        case "text":
            if text_column is not None and recipe.tokenizer == "bytes":
                return BytesReader()
            # Among the files of the library some are there to be no UTF-8.
            return DocumentReader(lenient=recipe.source == STDLIB)
        case "jsonl":
            return JsonRows(recipe.read_columns) if text_column is None else JsonTexts(text_column)
        case "csv":
            return CsvReader(recipe.read_columns, text_column)
        case "parquet":
            return ParquetReader(recipe.read_columns, text_column)
        case "images":
            return ImageReader()
        case _:
            assert_never(recipe.format)


def file_blocks(scan: "Scan", number: int, folder: Path) -> Iterator[pa.RecordBatch]:
    """The blocks of file `number`; the first column, `__file`, is that number in every row.

    Packed: `tokens` is a list of ids, a row of the batch per piece of the file's stream of tokens. Otherwise
    the row's own columns, in one schema for all files. `folder` is that of the store, where a trained
    tokenizer lies. A function of the file's content and the recipe, whatever machine it runs on.

    Raises DataError where the file is gone or has changed since the scan, or a row is bad and `on_bad_row`
    is `fail`.
    """
    tokenizer = load_tokenizer(scan.recipe.tokenizer, folder) if scan.recipe.is_packed else None
    for batch in _rows(scan, scan.files[number]):
        found = batch if tokenizer is None else _tokenised(batch, scan.recipe.text_column, tokenizer)
        if found.num_rows:
            place = pa.array(np.full(found.num_rows, number, dtype=np.int32))
            names = [FILE, *found.schema.names]
            yield pa.RecordBatch.from_arrays([place, *found.columns], names=names)


def block_schema(scan: "Scan") -> pa.Schema:
    """The schema of a recipe's rows after the transform: what it makes of the first file's first rows."""
    schema = pa.ipc.read_schema(pa.py_buffer(scan.schema))
    if not scan.recipe.transform:
        return schema
    transform = Transform(scan.recipe, None)
    for file in scan.files:
        bad = BadRows(file.path, scan.recipe.on_bad_row)
        for batch in transform(_read(scan, file, schema, bad), file.name, bad):
            if batch.num_rows:
                return batch.schema
    raise DataError(f"data.transform {scan.recipe.transform} makes no row of any file")


def training_texts(scan: "Scan") -> Iterator[str]:
    """All texts of the files, in order, as a tokenizer is trained on them."""
    for file in scan.files:
        for batch in _rows(scan, file):
            yield from _texts(batch, scan.recipe.text_column).to_pylist()


def _rows(scan: "Scan", file: "ScannedFile") -> Iterator[pa.RecordBatch]:
    """The rows of a file after the transform."""
    schema = pa.ipc.read_schema(pa.py_buffer(scan.schema))
    bad = BadRows(file.path, scan.recipe.on_bad_row)
    batches = _read(scan, file, schema, bad)
    if not scan.recipe.transform:
        yield from batches
        return
    made = pa.ipc.read_schema(pa.py_buffer(scan.block_schema))
    yield from Transform(scan.recipe, made)(batches, file.name, bad)


def _read(scan: "Scan", file: "ScannedFile", schema: pa.Schema, bad: BadRows) -> Iterator[pa.RecordBatch]:
    system, _ = filesystem_of(scan.recipe.source)
    num_rows = 0
    with verified(system, file, file.sha256) as content:
        try:
            for batch in reader_of(scan.recipe).batches(content, file.name, schema, bad):
                must_be_unchanged(system, file)
                num_rows += _num_documents(batch)
                yield batch
        except BadFile as error:
            raise error.of(file.path) from error
    if num_rows != file.rows:
        raise DataError(f"{file.path} gave {num_rows} rows, and {file.rows} when it was scanned")


def _num_documents(batch: pa.RecordBatch) -> int:
    if ENDS in batch.schema.names:
        return sum(batch.column(ENDS).to_pylist())
    count: int = batch.num_rows
    return count


def _tokenised(batch: pa.RecordBatch, column: str, tokenizer: Tokenizer) -> pa.RecordBatch:
    """One list of ids with the ends of text in place."""
    if isinstance(tokenizer, ByteTokenizer):
        ids = _byte_tokens(batch, column)
    else:
        end = np.array([tokenizer.end_of_text], dtype=np.uint32)
        texts = _texts(batch, column).to_pylist()
        ids = np.concatenate([part for text in texts for part in (tokenizer.encode(text), end)] or [end[:0]])
    lists = pa.LargeListArray.from_arrays(pa.array([0, len(ids)], pa.int64()), pa.array(ids))
    return pa.RecordBatch.from_arrays([lists], names=[TOKENS])


def _byte_tokens(batch: pa.RecordBatch, column: str) -> Any:
    is_pieces = ENDS in batch.schema.names
    texts = batch.column(TEXT) if is_pieces else _texts(batch, column)
    # All texts lie one behind the other, so the ends are put in at once.
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2] or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]
    ends = offsets[1:] - offsets[0]
    if is_pieces:
        ends = ends[batch.column(ENDS).to_numpy(zero_copy_only=False)]
    return np.insert(data.astype("<u2"), ends, ByteTokenizer.end_of_text)


def _texts(batch: pa.RecordBatch, column: str) -> Any:
    name = column if column in batch.schema.names else TEXT
    if name not in batch.schema.names:
        raise DataError(f"data.transform gives no column {column!r} to tokenise")
    return batch.column(name).cast(pa.large_string())
