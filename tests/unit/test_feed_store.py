"""A store of segments: whatever the blocks and whoever died, the rows by index are the same bytes."""

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import DataError, StorageError
from tests.unit.feed_files import a_scan, documents, filled, harm, lines, plain, recut, rows_in, scanned
from trainers.feed import filling
from trainers.feed.filling import fill_store, local_blocks, store_folder
from trainers.feed.rows import FeedRows
from trainers.feed.segments import SegmentStore


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows each, so that a handful of files makes many segments."""
    monkeypatch.setattr(filling, "rows_of_packed_segment", lambda context, vocabulary: 5)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8),
    st.integers(1, 20),
    st.integers(1, 20),
)
@pytest.mark.slow
def test_packed_rows_depend_neither_on_blocks_nor_on_segments(
    sizes: list[int], contents: list[bytes], context: int, rows_per_segment: int
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "rows_of_packed_segment", lambda context, vocabulary: rows_per_segment)
        storage = Path(name)
        found = scanned(storage, documents(storage / "text", *contents), context)
        blocks = local_blocks(found, store_folder(found, storage))
        rows = rows_in(filled(found, storage, recut(blocks, sizes)))
    stream = [token for content in contents for token in [*content, 256]]
    assert len(rows) == found.num_rows
    for index, row in enumerate(rows):
        part = stream[index * context : (index + 1) * context + 1]
        assert row.tokens.tolist() == part + [256] * (context + 1 - len(part))
        assert row.num_targets == len(part) - 1


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=4), st.integers(3, 900))
@pytest.mark.slow
def test_segments_of_rows_are_the_same_bytes_whatever_the_blocks(sizes: list[int], num_rows: int) -> None:
    rows = [
        {"n": n if n % 7 else None, "s": "x" * (n % 5), "v": [n, n + 1], "d": {"x": n / 2 if n % 3 else None}}
        for n in range(num_rows)
    ]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainers.feed.cutting._SEGMENT_BYTES", 8000)
        shas = []
        for storage, recuts in ((Path(name, "one"), None), (Path(name, "two"), sizes)):
            lines(storage / "in" / "a.jsonl", *rows[: num_rows // 3])
            lines(storage / "in" / "b.jsonl", *rows[num_rows // 3 :])
            found = scanned(storage, storage / "in", format="jsonl")
            blocks = local_blocks(found, store_folder(found, storage))
            store = filled(found, storage, recut(blocks, recuts) if recuts else blocks)
            shas.append([entry.sha256 for entry in store.entries()])
            assert [row["n"] for row in rows_in(store)] == [row["n"] for row in rows]
    assert shas[0] == shas[1]


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


def dying_at(patch: pytest.MonkeyPatch, moment: int) -> None:
    """The process dies at its `moment`-th write, sync or rename."""
    calls = 0

    def counted(function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment:
                raise Killed
            return function(*args, **options)

        return call

    for name in ("fsync", "replace", "write", "rename"):
        patch.setattr(os, name, counted(getattr(os, name)))
    patch.setattr(Path, "replace", counted(Path.replace))


@pytest.mark.parametrize("moment", range(1, 60, 5))
def test_who_dies_between_any_two_writes_leaves_a_store_that_goes_on(tmp_path: Path, moment: int) -> None:
    found = a_scan(tmp_path)
    whole = filled(found, tmp_path)
    expected = [(entry.sha256, entry.start, entry.end) for entry in whole.entries()]
    rows = plain(rows_in(whole))
    folder = tmp_path / "again" / found.fingerprint
    store = SegmentStore(folder)
    assert store.lock.acquire()
    died = False
    with pytest.MonkeyPatch.context() as patch:
        dying_at(patch, moment)
        try:
            fill_store(store, found, local_blocks(found, folder))
        except Killed:
            died = True
    assert died
    (folder / ".lock").unlink()
    heir = SegmentStore(folder)
    assert heir.lock.acquire()
    fill_store(heir, found, local_blocks(found, folder))
    heir.close()
    assert [(entry.sha256, entry.start, entry.end) for entry in heir.entries()] == expected
    assert plain(rows_in(heir)) == rows


def test_who_goes_on_reads_only_the_files_that_are_needed(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    folder = store_folder(found, tmp_path)

    def stopping(first: int) -> Iterator[pa.Table]:
        for number, block in enumerate(local_blocks(found, folder)(first)):
            if number == 10:
                raise Killed
            yield block

    store = SegmentStore(folder)
    assert store.lock.acquire()
    with pytest.raises(Killed):
        fill_store(store, found, stopping)
    store.close()
    assert len(store.entries()) >= 4
    goes_on_at = store.entries()[-1].end.file
    begun: list[int] = []

    def watched(first: int) -> Iterator[pa.Table]:
        begun.append(first)
        yield from local_blocks(found, folder)(first)

    filled(found, tmp_path, watched)
    assert begun == [goes_on_at]
    assert goes_on_at > 0


@pytest.mark.parametrize("damage", ["flip a bit", "cut the end", "remove"])
def test_a_damaged_segment_is_found_named_and_made_again(tmp_path: Path, damage: str) -> None:
    found = a_scan(tmp_path)
    store = filled(found, tmp_path)
    rows = plain(rows_in(store))
    for number in (1, 2, 5):
        harm(store.path(number), damage)
    assert [entry.number for entry in SegmentStore(store.folder).verify()] == [1, 2, 5]
    assert [entry.number for entry in SegmentStore(store.folder).gaps()] == [1, 2, 5]
    filled(found, tmp_path)
    assert SegmentStore(store.folder).verify() == []
    assert plain(rows_in(store)) == rows


def test_a_reader_never_sees_a_damaged_row_and_gets_the_mended_one(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    store = filled(found, tmp_path)
    rows = plain(rows_in(store))
    harm(store.path(1), "flip a bit")
    waits: list[int] = []

    def mend(number: int) -> None:
        waits.append(number)
        filled(found, tmp_path)

    reader = FeedRows(store.folder, 0, len(rows), on_wait=mend)
    assert plain([reader[index] for index in range(len(rows))]) == rows
    assert waits == [1]


def test_a_damaged_segment_whose_source_changed_names_both(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    store = filled(found, tmp_path)
    harm(store.path(3), "remove")
    changed = found.files[store.entries()[3].end.file]
    Path(changed.path).write_bytes(b"z" * changed.size)
    with pytest.raises(
        DataError, match=rf"000003\.arrow .*cannot be made again: .*{changed.name} has changed"
    ):
        filled(found, tmp_path)


def test_a_file_that_changed_after_the_scan_is_named_before_a_row_of_it_is_served(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    (tmp_path / "text" / "004.txt").write_bytes(b"Z" * found.files[4].size)
    with pytest.raises(DataError, match=r"004\.txt has changed since it was scanned"):
        filled(found, tmp_path)
    store = SegmentStore(store_folder(found, tmp_path))
    assert not store.complete
    assert all(entry.end.file < 4 for entry in store.entries())
    reader = FeedRows(store.folder, 0, found.num_rows or 0)
    with pytest.raises(DataError, match=r"004\.txt has changed"):
        reader[len(reader) - 1]


def test_a_file_that_is_gone_after_the_scan_is_named(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    (tmp_path / "text" / "004.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read .*004\.txt: .*No such file"):
        filled(found, tmp_path)


def test_a_broken_index_is_begun_anew(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    store = filled(found, tmp_path)
    rows = plain(rows_in(store))
    index = next(store.folder.glob("index-*.jsonl"))
    harm(index, "flip a bit")
    with pytest.raises(StorageError, match="the line is broken"):
        SegmentStore(store.folder).entries()
    assert plain(rows_in(filled(found, tmp_path))) == rows


def test_several_who_fill_one_store_at_the_same_time_make_one_store(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    folder = store_folder(found, tmp_path)
    barrier, winners = threading.Barrier(4), []

    def work() -> None:
        store = SegmentStore(folder)
        barrier.wait()
        if store.lock.acquire():
            winners.append(fill_store(store, found, local_blocks(found, folder)))
            store.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert winners
    assert SegmentStore(folder).verify() == []
    assert len(rows_in(SegmentStore(folder))) == found.num_rows


def test_a_writer_that_was_taken_for_dead_writes_no_more(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    folder = store_folder(found, tmp_path)
    zombie = SegmentStore(folder)
    assert zombie.lock.acquire()
    zombie.begin(5, 6)
    (folder / ".lock").unlink()
    filled(found, tmp_path)
    with pytest.raises(StorageError, match="another process writes"):
        zombie.append(pa.table({"n": [1]}))
    zombie.close()
