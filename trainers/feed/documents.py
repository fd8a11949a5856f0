"""Text files: each is one document."""

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from trainers.feed.bad_rows import BadRows
from trainers.feed.readers import BYTES_AT_ONCE, ENDS, NAME, TEXT, Survey

_PIECES: Final = pa.schema([(TEXT, pa.large_binary()), (ENDS, pa.bool_())])
_DOCUMENT: Final = pa.schema([(NAME, pa.string()), (TEXT, pa.large_string())])


class BytesReader:
    """Documents of any bytes, in pieces, for the tokenizer `bytes`. Nothing is decoded: no file is bad."""

    def survey(self, content: Any, name: str, bad: BadRows) -> Survey:
        content.seek(0, 2)
        return Survey(rows=1, num_bytes=content.tell(), schema=_PIECES)

    def batches(self, content: Any, name: str, schema: pa.Schema, bad: BadRows) -> Iterator[pa.RecordBatch]:
        piece = content.read(BYTES_AT_ONCE)
        while piece:
            following = content.read(BYTES_AT_ONCE)
            offsets = pa.array([0, len(piece)], pa.int64()).buffers()[1]
            text = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(piece)])
            yield pa.RecordBatch.from_arrays([text, pa.array([not following])], schema=_PIECES)
            piece = following


class DocumentReader:
    """Documents as text; `lenient` takes what is no UTF-8 for U+FFFD, and else such a file is bad."""

    def __init__(self, *, lenient: bool) -> None:
        self._errors = "replace" if lenient else "strict"

    def survey(self, content: Any, name: str, bad: BadRows) -> Survey:
        rows = sum(batch.num_rows for batch in self.batches(content, name, _DOCUMENT, bad))
        return Survey(rows=rows, num_bytes=0, schema=_DOCUMENT)

    def batches(self, content: Any, name: str, schema: pa.Schema, bad: BadRows) -> Iterator[pa.RecordBatch]:
        try:
            text = content.read().decode("utf-8", errors=self._errors)
        except UnicodeDecodeError as error:
            bad.add(f"is no UTF-8 at byte {error.start}")
            return
        yield pa.record_batch([pa.array([name]), pa.array([text], pa.large_string())], _DOCUMENT)
