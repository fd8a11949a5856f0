"""A run is pinned to its rows: later attempts get the same ones or a sentence."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import DataError, StorageError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_training import DataSpec
from trainers.feed.filling import local_blocks
from trainers.feed.recipe import recipe_of
from trainers.feed.run_feed import RunFeed, feed_of, pin, pinned_scan
from trainers.feed.scan import Scan, scan
from trainers.feed.segments import SegmentStore
from trainers.feed.serving import rows_of_run
from trainers.feed.writing import fill


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    for name in ("a", "b", "c"):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / f"{name}.txt").write_text(f"the text of {name} " * 40)
    return RunDirectory.create(tmp_path, RunSpec.parse({"task": "language_model", "name": "pinned"}))


def scanned(run: RunDirectory, **data: Any) -> Scan:
    storage = run.path.parent
    spec = DataSpec.model_validate({"source": str(storage / "source"), **data})
    return scan(recipe_of(spec, 16), storage)


def filled(run: RunDirectory) -> RunFeed:
    feed = pin(run, scanned(run), run.path.parent)
    found = pinned_scan(run.path)
    fill(found, feed.folder, local_blocks(found, feed.folder))
    return feed


def test_the_first_attempt_says_which_rows_a_run_has(run: RunDirectory) -> None:
    assert feed_of(run) is None
    found = scanned(run)
    feed = pin(run, found, run.path.parent)
    assert not feed.complete
    assert feed.num_rows == found.num_rows
    assert feed.folder.name == found.fingerprint
    assert pinned_scan(run.path) == found
    assert pin(run, scanned(run), run.path.parent) == feed


def test_once_all_rows_are_there_no_feed_is_needed(run: RunDirectory) -> None:
    filled(run)
    assert pin(run, scanned(run), run.path.parent).complete


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "b.txt").write_text("another text " * 40), r"b\.txt changed$"),
        (lambda folder: (folder / "c.txt").unlink(), r"c\.txt is gone$"),
        (lambda folder: (folder / "d.txt").write_text("new " * 40), r"d\.txt is new$"),
        (
            lambda folder: [(folder / f"{name}.txt").write_text("x" * 99) for name in "abc"],
            r"a\.txt \(and 2 more\) changed$",
        ),
    ],
)
def test_an_attempt_that_finds_other_files_names_one(run: RunDirectory, change: Any, sentence: str) -> None:
    pin(run, scanned(run), run.path.parent)
    change(run.path.parent / "source")
    with pytest.raises(DataError, match=sentence):
        pin(run, scanned(run), run.path.parent)


def test_an_attempt_with_another_recipe_names_what_differs(run: RunDirectory) -> None:
    pin(run, scanned(run), run.path.parent)
    with pytest.raises(DataError, match="on_bad_row of its recipe is another"):
        pin(run, scanned(run, on_bad_row="skip"), run.path.parent)


def test_a_broken_pin_is_named(run: RunDirectory) -> None:
    pin(run, scanned(run), run.path.parent)
    (run.path / "data.json").write_text("{}")
    with pytest.raises(StorageError, match=r"data\.json is broken"):
        pinned_scan(run.path)


def test_a_segment_that_is_damaged_is_made_again_by_who_needs_it(run: RunDirectory) -> None:
    feed = filled(run)
    before, _ = rows_of_run(feed, 0.05)
    expected = [row.tokens.tolist() for row in (before[index] for index in range(len(before)))]
    (segment,) = (feed.folder / "segments").glob("*.arrow")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(bytes(content))
    after, _ = rows_of_run(feed, 0.05)
    assert [row.tokens.tolist() for row in (after[index] for index in range(len(after)))] == expected
    assert not SegmentStore(feed.folder).verify()
