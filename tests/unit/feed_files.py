"""Files of all formats, and their rows, for tests of the feed."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.domain.spec_training import DataSpec
from trainers.feed.filling import Blocks, fill_store, local_blocks, store_folder
from trainers.feed.packing import PackedRow
from trainers.feed.recipe import recipe_of
from trainers.feed.rows import FeedRows
from trainers.feed.scan import Scan, scan
from trainers.feed.segments import SegmentStore

_CONTENTS = tuple(bytes([97 + number]) * (7 * number + 1) for number in range(12))


def documents(folder: Path, *contents: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"{number:03}.txt").write_bytes(content)
    return folder


def lines(path: Path, *rows: Any) -> Path:
    """A JSONL file; text stands for itself, anything else for its JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def scanned(storage: Path, source: Path | str, context: int | None = None, **data: Any) -> Scan:
    return scan(recipe_of(DataSpec(source=str(source), **data), context), storage)


def filled(found: Scan, storage: Path, blocks: Blocks | None = None) -> SegmentStore:
    folder = store_folder(found, storage)
    store = SegmentStore(folder)
    assert store.lock.acquire()
    try:
        fill_store(store, found, blocks or local_blocks(found, folder))
    finally:
        store.close()
    return store


def rows_in(store: SegmentStore) -> list[Any]:
    rows = FeedRows(store.folder, 0, store.num_rows or 0, patience_s=0)
    return [rows[index] for index in range(len(rows))]


def fed(storage: Path, source: Path | str, context: int | None = None, **data: Any) -> list[Any]:
    """The rows of a source, all the way through scan, store and index."""
    return rows_in(filled(scanned(storage, source, context, **data), storage))


def recut(blocks: Blocks, sizes: Sequence[int]) -> Blocks:
    """The same rows in blocks of other sizes, as Ray Data may hand them on."""

    def again(first: int) -> Iterator[pa.Table]:
        tables = list(blocks(first))
        if not tables:
            return
        table, begin, turn = pa.concat_tables(tables), 0, 0
        while begin < table.num_rows:
            yield table.slice(begin, sizes[turn % len(sizes)])
            begin += sizes[turn % len(sizes)]
            turn += 1

    return again


def plain(rows: list[Any]) -> list[Any]:
    """The rows in a form that can be compared."""
    return [(row.tokens.tolist(), row.num_targets) if isinstance(row, PackedRow) else row for row in rows]


def a_scan(storage: Path, context: int | None = 6) -> Scan:
    """Of a dozen documents of different lengths."""
    return scanned(storage, documents(storage / "text", *_CONTENTS), context)


def harm(path: Path, damage: str) -> None:
    """`flip a bit`, `cut the end` or `remove`."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match damage:
        case "flip a bit":
            path.write_bytes(content)
        case "cut the end":
            path.write_bytes(content[:-9])
        case _:
            path.unlink()
