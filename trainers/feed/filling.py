"""How a store is filled, whoever makes the blocks: from the first missing segment to the end."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.domain.disk import replace_text
from orchestrator.domain.errors import DataError
from trainers.feed.cutting import (
    Cut,
    Cutter,
    PackedCutter,
    RowCutter,
    rows_of_packed_segment,
    rows_of_segment,
)
from trainers.feed.formats import file_blocks, training_texts
from trainers.feed.scan import Scan, ScannedFile
from trainers.feed.segments import Manifest, Origin, SegmentEntry, SegmentStore
from trainers.feed.tokenizers import TOKENIZER_FILE, Tokenizer, load_tokenizer, train_bpe

Blocks = Callable[[int], Iterable[pa.Table]]
"""blocks(first): the blocks of all files from number `first` on, in order, as `file_blocks` makes them."""


def store_folder(scan: Scan, storage: Path) -> Path:
    """Where the rows of a scan lie."""
    return storage / ".datasets" / scan.fingerprint


def fill_store(
    store: SegmentStore,
    scan: Scan,
    blocks: Blocks,
    on_segment: Callable[[SegmentEntry], None] | None = None,
) -> Manifest:
    """Writes what a store lacks: damaged segments first, then on from where the last writer stopped.

    The lock of the store must be held. `on_segment` hears of each segment that was added.

    Raises:
        DataError: a source is gone or changed, or a row is bad under `on_bad_row: fail`; readers who wait
            are told.
        StorageError: the storage cannot be written.
    """
    store.take_over()
    try:
        tokenizer = tokenizer_for(scan, store.folder) if scan.recipe.is_packed else None
        _repair(store, scan, tokenizer)
        if store.manifest is not None:
            return store.manifest
        entries = store.entries()
        origin = entries[-1].end if entries else Origin()
        for cut in _cuts(store, scan, blocks, tokenizer, origin):
            entry = store.append(cut.table, cut.start, cut.end)
            if on_segment is not None:
                on_segment(entry)
        if not store.entries():
            raise DataError(f"data.source {scan.recipe.source} holds no rows at all")
        return store.finish(_about(scan))
    except DataError as error:
        store.fail(str(error))
        raise


def tokenizer_for(scan: Scan, folder: Path) -> Tokenizer:
    """The tokenizer of a store that is being filled: a bpe is trained if it was not yet.

    A given tokenizer.json is copied beside the rows. Raises DataError where it is not the one that the recipe
    was made with.
    """
    recipe, beside = scan.recipe, folder / TOKENIZER_FILE
    if recipe.tokenizer == "bpe" and not beside.exists():
        replace_text(beside, train_bpe(training_texts(scan), recipe.vocabulary))
    tokenizer = load_tokenizer(recipe.tokenizer, folder)
    if recipe.tokenizer_sha256:
        content = Path(recipe.tokenizer).expanduser().read_bytes()
        if hashlib.sha256(content).hexdigest() != recipe.tokenizer_sha256:
            raise DataError(f"data.tokenizer {recipe.tokenizer} has changed since the run was submitted")
        replace_text(beside, content.decode())
    return tokenizer


def local_blocks(
    scan: Scan, folder: Path, on_file: Callable[[ScannedFile], None] = lambda file: None
) -> Blocks:
    """Blocks that are made here, one after the other, without Ray; `on_file` is told of each file read."""

    def blocks(first: int) -> Iterator[pa.Table]:
        for number in range(first, len(scan.files)):
            for batch in file_blocks(scan, number, folder):
                yield pa.Table.from_batches([batch])
            on_file(scan.files[number])

    return blocks


def _cuts(
    store: SegmentStore, scan: Scan, blocks: Blocks, tokenizer: Tokenizer | None, origin: Origin
) -> Iterator[Cut]:
    stream = iter(blocks(origin.file))
    cutter, stream = _cutter(store, scan, tokenizer, origin, stream)
    for block in stream:
        yield from cutter.add(block)
    yield from cutter.finish()


def _cutter(
    store: SegmentStore, scan: Scan, tokenizer: Tokenizer | None, origin: Origin, stream: Iterator[pa.Table]
) -> tuple[Cutter, Iterator[pa.Table]]:
    context = scan.recipe.context
    if context is not None:
        assert tokenizer is not None
        head = store.begin(rows_of_packed_segment(context, tokenizer.vocabulary), context)
        cutter = PackedCutter(
            context, head.rows_per_segment, tokenizer.vocabulary, tokenizer.end_of_text, origin
        )
        return cutter, stream
    if store.head is None:
        rows, seen = rows_of_segment(stream)
        store.begin(rows, None)
        stream = chain(seen, stream)
    assert store.head is not None
    return RowCutter(store.head.rows_per_segment, origin), stream


def _repair(store: SegmentStore, scan: Scan, tokenizer: Tokenizer | None) -> None:
    gaps = store.gaps()
    blocks = local_blocks(scan, store.folder)
    while gaps:
        # One pass mends a run of neighbours.
        run = [entry for place, entry in enumerate(gaps) if entry.number == gaps[0].number + place]
        gaps = gaps[len(run) :]
        try:
            made = 0
            for entry, cut in zip(run, _cuts(store, scan, blocks, tokenizer, run[0].start), strict=False):
                store.rebuild(entry, cut.table)
                made += 1
            if made < len(run):
                raise DataError("its sources give fewer rows than before")
        except DataError as error:
            path = store.path(run[0].number)
            raise DataError(
                f"the segment {path} is missing or damaged and cannot be made again: {error}"
            ) from error


def _about(scan: Scan) -> dict[str, Any]:
    return {
        "recipe": asdict(scan.recipe),
        "files": [
            {"name": file.name, "size": file.size, "sha256": file.sha256, "rows": file.rows}
            for file in scan.files
        ],
        "skipped": [asdict(part) for part in scan.skipped],
        "num_bad_rows": scan.num_bad_rows,
    }
