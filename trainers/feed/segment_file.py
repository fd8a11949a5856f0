"""One segment of a store: an Arrow IPC file, uncompressed, so that a reader maps it and copies nothing."""

import hashlib
import os
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa

from orchestrator.domain.disk import storage_errors, sync_path
from orchestrator.domain.errors import DataError


def segment_bytes(table: pa.Table) -> pa.Buffer:
    """The file that holds a table; equal rows give equal bytes, however they were put together."""
    sink = pa.BufferOutputStream()
    # Gathered anew, row by row: a slice drags along bits and offsets of the rows around it.
    gathered = table.replace_schema_metadata(None).take(pa.array(np.arange(table.num_rows)))
    with pa.ipc.new_file(sink, gathered.schema) as writer:
        for batch in gathered.combine_chunks().to_batches():
            writer.write_batch(batch)
    return sink.getvalue()


def sha256_of(buffer: pa.Buffer) -> str:
    return hashlib.sha256(memoryview(buffer)).hexdigest()


def write_whole(path: Path, content: pa.Buffer) -> None:
    """Puts a file at `path`, durable and whole, in place of what may be there. Raises StorageError."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb", buffering=0) as file:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        sync_path(path.parent)


def read_segment(path: Path, sha256: str | None) -> pa.Table:
    """The rows of a segment, memory-mapped; with `sha256`, only after all of the file agreed with it.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: what is there is not what was written.
    """
    try:
        with pa.memory_map(str(path)) as file:
            content = file.read_buffer()
        # The map outlives the file it came from, so open segments cost no file descriptors.
        if sha256 is not None and sha256_of(content) != sha256:
            raise DataError(f"the segment {path} is damaged: its checksum does not match")
        return pa.ipc.open_file(pa.BufferReader(content)).read_all()
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"the segment {path} is damaged: {error}") from error
