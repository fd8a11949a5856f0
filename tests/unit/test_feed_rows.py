"""Rows by index: waited for, fetched ahead, split, and the same wherever they are read."""

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.domain.errors import DataError
from tests.unit.feed_files import a_scan, filled, plain, rows_in
from trainers.feed import filling
from trainers.feed.filling import store_folder
from trainers.feed.rows import FeedRows, feed_rows, split
from trainers.feed.segments import SegmentStore


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows each, so that a handful of files makes many segments."""
    monkeypatch.setattr(filling, "rows_of_packed_segment", lambda context, vocabulary: 5)


def test_rows_pickle_as_a_path_and_are_read_where_they_are_needed(tmp_path: Path) -> None:
    store = filled(a_scan(tmp_path), tmp_path)
    rows = FeedRows(store.folder, 3, 9)
    first = rows[0].tokens
    pickled = pickle.dumps(rows)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert len(again) == 6
    assert np.array_equal(again[0].tokens, first)
    assert first.dtype == np.int64
    for outside in (-1, 6):
        with pytest.raises(IndexError, match="outside the 6 rows"):
            again[outside]


def test_many_rows_at_once_are_those_one_by_one(tmp_path: Path) -> None:
    store = filled(a_scan(tmp_path), tmp_path)
    rows = FeedRows(store.folder, 0, store.num_rows or 0)
    wanted = [7, 0, 22, 7]
    assert plain(rows.__getitems__(wanted)) == plain([rows[index] for index in wanted])


def test_a_row_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    waits: list[int] = []

    def bring(number: int) -> None:
        waits.append(number)
        filled(found, tmp_path)

    rows = FeedRows(store_folder(found, tmp_path), 0, found.num_rows or 0, on_wait=bring)
    assert rows[0].tokens[0] == 97
    assert len(waits) == 1


def test_a_wait_ends_with_the_deadline_the_end_of_the_feed_or_its_failure(tmp_path: Path) -> None:
    found = a_scan(tmp_path)
    folder = store_folder(found, tmp_path)
    with pytest.raises(DataError, match=r"000000\.arrow was not made within 0 s"):
        FeedRows(folder, 0, 5, patience_s=0)[0]
    store = filled(found, tmp_path)
    store.path(1).unlink()
    with pytest.raises(DataError, match=r"000001\.arrow is missing or damaged and was not made again"):
        FeedRows(folder, 0, 10, patience_s=0)[9]
    with pytest.raises(DataError, match=f"ended with row {(store.num_rows or 0) - 1}"):
        FeedRows(folder, 0, 10_000)[9_999]
    unfinished = SegmentStore(tmp_path / "other")
    unfinished.fail("the file x is gone")
    with pytest.raises(DataError, match="the file x is gone"):
        FeedRows(unfinished.folder, 0, 5)[0]


def test_prefetch_opens_the_segments_of_the_rows_in_the_background(tmp_path: Path) -> None:
    store = filled(a_scan(tmp_path), tmp_path)
    rows = FeedRows(store.folder, 0, store.num_rows or 0)
    opened, everything = threading.Event(), {0, 2}
    load = rows._opened

    def watched(number: int) -> Any:
        view = load(number)
        if everything <= rows._open.keys():
            opened.set()
        return view

    rows._opened = watched  # type: ignore[method-assign]
    rows.prefetch([1, 12, 14])
    assert opened.wait(20)
    assert set(rows._open) == everything


def test_a_wish_for_what_is_not_there_yet_holds_up_nobody(tmp_path: Path) -> None:
    store = filled(a_scan(tmp_path), tmp_path)
    rows = FeedRows(store.folder, 0, store.num_rows or 0)
    store.path(2).rename(tmp_path / "later")
    rows.prefetch([12])
    assert rows[0].tokens[0] == 97


def test_the_last_part_of_the_rows_is_for_validation(tmp_path: Path) -> None:
    assert split(100, 0.25) == (75, 25)
    assert split(10, 0.001) == (9, 1)
    assert split(10, 0) == (10, 0)
    for num_rows, words in ((0, "no rows at all"), (1, "1 row, too few to hold some out")):
        with pytest.raises(DataError, match=words):
            split(num_rows, 0.05)
    store = filled(a_scan(tmp_path), tmp_path)
    train, validation = feed_rows(store.folder, store.num_rows or 0, 0.2)
    assert validation is not None
    parts = [rows[index] for rows in (train, validation) for index in range(len(rows))]
    assert plain(parts) == plain(rows_in(store))
