import os
import sysconfig
from pathlib import Path
from typing import Literal

import pytest

from orchestrator.domain.errors import DataError
from orchestrator.domain.spec_training import DataSpec
from trainers.data.text_corpus import SkippedFile, resolve


def written(folder: Path, **texts: str) -> Path:
    """A folder of text files; `__` in a name stands for `/`."""
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(source: Path | str, on_bad_row: Literal["fail", "skip"] = "fail") -> list[str]:
    return [file.name for file in resolve(DataSpec(source=str(source), on_bad_row=on_bad_row)).files]


def test_a_folder_is_all_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    written(tmp_path, b="2", a__z="1", a__deep__x="3", B="0")
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("no")
    assert names(tmp_path) == ["B.txt", "a/deep/x.txt", "a/z.txt", "b.txt"]


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


def test_the_size_is_in_bytes(tmp_path: Path) -> None:
    written(tmp_path, a="äö", b="1")
    assert resolve(DataSpec(source=str(tmp_path))).num_bytes == 5


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"data.source {tmp_path}/nothing does not exist"):
        names(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"no file matches data.source .*/\*\.csv"):
        names(tmp_path / "*.csv")
    with pytest.raises(DataError, match="holds no text at all"):
        names(tmp_path)


def test_one_file_under_two_names_is_refused(tmp_path: Path) -> None:
    written(tmp_path, a="1", b="2")
    (tmp_path / "c.txt").symlink_to(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"c\.txt and .*a\.txt are one file"):
        names(tmp_path)


def test_an_empty_file_fails_or_is_skipped_by_name(tmp_path: Path) -> None:
    written(tmp_path, a="1", b="")
    with pytest.raises(DataError, match=r"b\.txt is empty"):
        names(tmp_path)
    corpus = resolve(DataSpec(source=str(tmp_path), on_bad_row="skip"))
    assert [file.name for file in corpus.files] == ["a.txt"]
    assert corpus.skipped == (SkippedFile("b.txt", "is empty"),)


def test_a_broken_link_and_a_pipe_are_bad_files(tmp_path: Path) -> None:
    written(tmp_path, a="1")
    (tmp_path / "link.txt").symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"link\.txt cannot be read: No such file"):
        names(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    corpus = resolve(DataSpec(source=str(tmp_path), on_bad_row="skip"))
    assert [entry.name for entry in corpus.skipped] == ["link.txt", "pipe.txt"]
    assert corpus.skipped[1].reason == "is not a regular file"


def test_a_file_without_permission_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, a="1")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match=r"a\.txt cannot be read: Permission denied"):
        names(tmp_path)


def test_a_file_that_is_no_utf_8_is_a_document_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xe4\xff")
    assert names(tmp_path) == ["latin"]


def test_nothing_but_bad_files_is_no_corpus(tmp_path: Path) -> None:
    written(tmp_path, a="")
    with pytest.raises(DataError, match="holds no text at all"):
        names(tmp_path, "skip")


def test_the_library_of_the_interpreter_is_a_corpus() -> None:
    corpus = resolve(DataSpec())
    found = {file.name for file in corpus.files}
    assert {"os.py", "json/decoder.py"} <= found
    assert not any("site-packages" in name or "__pycache__" in name for name in found)
    assert all(name.endswith(".py") for name in found)
    assert corpus.num_bytes > 10_000_000
    assert all(file.size > 0 for file in corpus.files)
    assert Path(sysconfig.get_path("stdlib"), "os.py") in {file.path for file in corpus.files}
