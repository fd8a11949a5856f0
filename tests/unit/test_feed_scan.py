"""Which files a source is, what a scan knows of them, and when it reads them again."""

import os
import pickle
import sysconfig
import uuid
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import DataError, StorageError
from orchestrator.domain.spec_training import DataSpec
from tests.unit.feed_files import documents, fed, filled, lines, rows_in, scanned
from trainers.feed import scan as scan_module
from trainers.feed.named import NamedDataset, register, registered
from trainers.feed.recipe import recipe_of
from trainers.feed.scan import Scan
from trainers.feed.sources import SkippedPart, list_files


def written(folder: Path, **texts: str) -> Path:
    """A folder of text files; `__` in a name stands for `/`."""
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(source: Path | str, **data: Any) -> list[str]:
    return [file.name for file in list_files(recipe_of(DataSpec(source=str(source), **data), None)).files]


def skipped(source: Path) -> tuple[SkippedPart, ...]:
    return list_files(recipe_of(DataSpec(source=str(source), on_bad_row="skip"), None)).skipped


def test_a_folder_is_all_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    written(tmp_path, b="2", a__z="1", a__deep__x="3", B="0")
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("no")
    assert names(tmp_path) == ["B.txt", "a/deep/x.txt", "a/z.txt", "b.txt"]


def test_a_folder_of_a_format_is_the_files_that_end_like_it(tmp_path: Path) -> None:
    written(tmp_path, readme="hello")
    for name in ("b.jsonl", "a.JSONL", "c.csv"):
        (tmp_path / name).write_text("{}\n")
    assert names(tmp_path, format="jsonl") == ["a.JSONL", "b.jsonl"]
    assert names(tmp_path / "*", format="jsonl") == ["a.JSONL", "b.jsonl", "c.csv", "readme.txt"]


def test_a_file_a_file_uri_and_a_glob_are_found(tmp_path: Path) -> None:
    written(tmp_path, a="1", sub__b="2", sub__deep__c="3")
    assert names(tmp_path / "a.txt") == ["a.txt"]
    assert names(f"file://{tmp_path}/a.txt") == ["a.txt"]
    assert names(tmp_path / "*.txt") == ["a.txt"]
    assert names(tmp_path / "sub" / "**") == ["b.txt", "deep/c.txt"]
    assert names(tmp_path / "s*" / "*.txt") == ["sub/b.txt"]


def test_a_relative_path_counts_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, sub__a="1")
    monkeypatch.chdir(tmp_path)
    assert names("sub") == ["a.txt"]
    assert names("file://./sub") == ["a.txt"]


def test_a_name_with_brackets_is_taken_literally_where_it_is_there(tmp_path: Path) -> None:
    written(tmp_path, **{"a[1]": "x", "a1": "y"})
    assert names(tmp_path / "a[1].txt") == ["a[1].txt"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"data.source {tmp_path}/nothing does not exist"):
        names(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"data.source .*/\*\.csv matches no file"):
        names(tmp_path / "*.csv")
    with pytest.raises(DataError, match="holds no file with anything in it"):
        names(tmp_path)


def test_a_folder_without_files_of_the_format_says_how_they_end(tmp_path: Path) -> None:
    written(tmp_path, a="1")
    with pytest.raises(DataError, match="holds no file with anything in it") as raised:
        names(tmp_path, format="csv")
    assert raised.value.hint == "With data.format csv, files of a folder end in .csv."


def test_one_file_under_two_names_is_refused_even_where_bad_files_are_skipped(tmp_path: Path) -> None:
    written(tmp_path, a="1", b="2")
    (tmp_path / "c.txt").symlink_to(tmp_path / "a.txt")
    for on_bad_row in ("fail", "skip"):
        with pytest.raises(DataError, match=r"c\.txt and .*a\.txt are one file"):
            names(tmp_path, on_bad_row=on_bad_row)


def test_an_empty_file_fails_or_is_skipped_by_name(tmp_path: Path) -> None:
    written(tmp_path, a="1", b="")
    with pytest.raises(DataError, match=r"b\.txt of data\.source .* is empty"):
        names(tmp_path)
    assert names(tmp_path, on_bad_row="skip") == ["a.txt"]
    assert skipped(tmp_path) == (SkippedPart("b.txt", "is empty"),)


def test_a_broken_link_and_a_pipe_are_bad_files(tmp_path: Path) -> None:
    written(tmp_path, a="1")
    (tmp_path / "link.txt").symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"link\.txt of data\.source .* cannot be read: No such file"):
        names(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    assert [part.name for part in skipped(tmp_path)] == ["link.txt", "pipe.txt"]
    assert skipped(tmp_path)[1].reason == "is not a regular file"


def test_a_file_without_permission_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, a="1")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match=r"a\.txt of data\.source .* cannot be read: Permission denied"):
        names(tmp_path)


def test_the_library_of_the_interpreter_is_a_source() -> None:
    files = list_files(recipe_of(DataSpec(), None)).files
    found = {file.name for file in files}
    assert {"os.py", "json/decoder.py"} <= found
    assert not any("site-packages" in name or "__pycache__" in name for name in found)
    assert sum(file.size for file in files) > 10_000_000
    assert str(Path(sysconfig.get_path("stdlib"), "os.py")) in {file.path for file in files}


def test_files_of_any_file_system_are_found_and_fed(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    root = f"memory://{uuid.uuid4().hex}"
    for name, content in (("b.txt", "two"), ("sub/a.txt", "one"), (".hidden", "no"), ("c.md", "three")):
        with fsspec.open(f"{root}/{name}", "w") as file:
            file.write(content)
    assert names(root) == ["b.txt", "c.md", "sub/a.txt"]
    assert names(f"{root}/**/*.txt") == ["b.txt", "sub/a.txt"]
    assert names(f"{root}/sub/a.txt") == ["a.txt"]
    rows = fed(tmp_path, f"{root}/**/*.txt")
    assert [row["text"] for row in rows] == ["two", "one"]


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(DataError, match=r"cannot open data.source nosuchthing://x/y: "):
        names("nosuchthing://x/y")


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose content is read by scans from now on."""
    read: list[str] = []
    digest = scan_module.digest

    def counted(system: Any, file: Any) -> str:
        read.append(file.name)
        return digest(system, file)

    monkeypatch.setattr(scan_module, "digest", counted)
    return read


def long_ago(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))


def test_a_second_scan_reads_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = documents(tmp_path / "text", b"one", b"two", b"three")
    long_ago(source)
    read = counting(monkeypatch)
    first = scanned(tmp_path, source, 4)
    assert len(read) == 3
    assert scanned(tmp_path, source, 4) == first
    assert len(read) == 3
    (source / "001.txt").write_bytes(b"TWO")
    changed = scanned(tmp_path, source, 4)
    assert read[3:] == ["001.txt"]
    assert changed.fingerprint != first.fingerprint
    for _ in range(2):
        scanned(tmp_path, source, 4)
    assert read[3:] == ["001.txt"] * 3, "what was written a moment ago may be written again"


def test_a_broken_cache_is_an_empty_one(tmp_path: Path) -> None:
    source = documents(tmp_path / "text", b"one")
    long_ago(source)
    first = scanned(tmp_path, source, 4)
    (cache,) = (tmp_path / ".datasets" / "scans").iterdir()
    cache.write_text(cache.read_text()[:20])
    assert scanned(tmp_path, source, 4) == first


def test_bad_rows_are_known_from_the_cache_too(tmp_path: Path) -> None:
    source = lines(tmp_path / "in" / "a.jsonl", {"x": 1}, "no")
    long_ago(tmp_path / "in")
    first = scanned(tmp_path, source, format="jsonl", on_bad_row="skip")
    again = scanned(tmp_path, source, format="jsonl", on_bad_row="skip")
    assert again == first
    assert again.num_bad_rows == 1
    with pytest.raises(DataError, match="row 2 is no JSON"):
        scanned(tmp_path, source, format="jsonl")


def test_the_place_of_the_files_does_not_enter_the_fingerprint(tmp_path: Path) -> None:
    one, two = documents(tmp_path / "one", b"abc"), documents(tmp_path / "two", b"abc")
    assert scanned(tmp_path, one).fingerprint == scanned(tmp_path, two).fingerprint
    two.joinpath("000.txt").write_bytes(b"abd")
    assert scanned(tmp_path, one).fingerprint != scanned(tmp_path, two).fingerprint
    assert scanned(tmp_path, one).fingerprint != scanned(tmp_path, one, 4).fingerprint


def test_a_scan_survives_json_and_pickle(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"x": [1]}, "no")
    found = scanned(tmp_path, source, format="jsonl", on_bad_row="skip", columns=("x",))
    assert Scan.from_json(found.as_json()) == found
    assert pickle.loads(pickle.dumps(found)) == found


def test_nothing_but_bad_rows_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no rows at all"):
        scanned(tmp_path, lines(tmp_path / "a.jsonl", "no"), format="jsonl", on_bad_row="skip")


def test_images_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.format images gives no text"):
        recipe_of(DataSpec(source=str(tmp_path), format="images"), 8)


def test_a_storage_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source = documents(tmp_path / "text", b"abc")
    long_ago(source)
    (tmp_path / "storage").write_text("a file")
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/storage"):
        scanned(tmp_path / "storage", source)


def test_a_name_stands_for_a_source_of_its_storage(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"n": 1})
    register(tmp_path, NamedDataset(name="numbers", source=str(source), format="jsonl"))
    assert [dataset.name for dataset in registered(tmp_path)] == ["numbers"]
    found = scanned(tmp_path, "dataset://numbers", format="jsonl")
    assert rows_in(filled(found, tmp_path)) == [{"n": 1}]
    assert found.fingerprint == scanned(tmp_path, source, format="jsonl").fingerprint
    with pytest.raises(DataError, match=r"dataset://numbers is jsonl and data.format is text"):
        scanned(tmp_path, "dataset://numbers")
    with pytest.raises(DataError, match="unknown data set 'number', did you mean 'numbers'"):
        scanned(tmp_path, "dataset://number")
    with pytest.raises(DataError, match="dataset://stdlib is built in"):
        register(tmp_path, NamedDataset(name="stdlib", source="x"))
    with pytest.raises(DataError, match="is no name for a data set"):
        register(tmp_path, NamedDataset(name="../x", source="x"))
