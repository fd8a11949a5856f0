import threading
from pathlib import Path

import numpy as np
import pytest

from orchestrator.domain.errors import DataError, StorageError
from orchestrator.domain.spec_training import DataSpec
from trainers.data.prepared_corpus import TOKENS_FILE, prepare, read_manifest
from trainers.data.text_corpus import Corpus, resolve


def a_corpus(folder: Path, *contents: bytes) -> Corpus:
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (folder / f"{number}.txt").write_bytes(content)
    return resolve(DataSpec(source=str(folder), on_bad_row="skip"))


def tokens_in(folder: Path) -> list[int]:
    return [int(token) for token in np.fromfile(folder / TOKENS_FILE, dtype="<u2")]


def test_tokens_are_the_bytes_with_an_end_of_text_after_each_document(tmp_path: Path) -> None:
    folder = prepare(a_corpus(tmp_path / "text", b"ab", b"\xff", b""), tmp_path)
    assert tokens_in(folder) == [97, 98, 256, 255, 256]
    manifest = read_manifest(folder)
    assert (manifest.num_files, manifest.num_bytes, manifest.num_tokens) == (2, 3, 5)
    assert (manifest.tokenizer, manifest.vocabulary) == ("bytes", 257)
    assert manifest.num_skipped == 1
    assert [(entry.name, entry.reason) for entry in manifest.skipped] == [("2.txt", "is empty")]
    assert folder == tmp_path / ".datasets" / manifest.fingerprint


def test_what_is_prepared_is_used_again(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path / "text", b"abc")
    first = prepare(corpus, tmp_path)
    before = (first / TOKENS_FILE).stat()
    assert prepare(corpus, tmp_path) == first
    assert (first / TOKENS_FILE).stat().st_ino == before.st_ino
    assert (first / TOKENS_FILE).stat().st_mtime_ns == before.st_mtime_ns


def test_the_place_of_the_files_does_not_enter_the_fingerprint(tmp_path: Path) -> None:
    one, two = a_corpus(tmp_path / "one", b"abc"), a_corpus(tmp_path / "two", b"abc")
    assert prepare(one, tmp_path) == prepare(two, tmp_path)


def test_another_content_of_the_same_size_is_another_dataset(tmp_path: Path) -> None:
    first = prepare(a_corpus(tmp_path / "text", b"abc"), tmp_path)
    second = prepare(a_corpus(tmp_path / "text", b"abd"), tmp_path)
    assert first != second
    assert tokens_in(first) == [97, 98, 99, 256]
    assert tokens_in(second) == [97, 98, 100, 256]


@pytest.mark.parametrize("damage", ["flip a bit", "cut the end", "no tokens", "no manifest", "torn manifest"])
def test_a_broken_dataset_is_written_again(tmp_path: Path, damage: str) -> None:
    corpus = a_corpus(tmp_path / "text", b"abc" * 100)
    folder = prepare(corpus, tmp_path)
    whole = tokens_in(folder)
    tokens, manifest = folder / TOKENS_FILE, folder / "manifest.json"
    content = tokens.read_bytes()
    match damage:
        case "flip a bit":
            tokens.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
        case "cut the end":
            tokens.write_bytes(content[:-2])
        case "no tokens":
            tokens.unlink()
        case "no manifest":
            manifest.unlink()
        case "torn manifest":
            manifest.write_text(manifest.read_text()[:30])
    assert prepare(corpus, tmp_path) == folder
    assert tokens_in(folder) == whole
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_workers_that_prepare_at_the_same_time_get_one_dataset(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path / "text", *(b"abc" * 1000 for _ in range(20)))
    barrier, found = threading.Barrier(4), []

    def work() -> None:
        barrier.wait()
        found.append(prepare(corpus, tmp_path))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert [path.name for path in found[0].parent.iterdir()] == [found[0].name]


def test_a_file_that_changes_between_scan_and_reading_is_named(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path / "text", b"abc")
    (tmp_path / "text" / "0.txt").write_bytes(b"abcdef")
    with pytest.raises(DataError, match=r"0\.txt is being changed while it is read"):
        prepare(corpus, tmp_path)


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path / "text", b"abc")
    (tmp_path / "text" / "0.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read .*0\.txt: No such file"):
        prepare(corpus, tmp_path)


def test_a_storage_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    corpus = a_corpus(tmp_path / "text", b"abc")
    (tmp_path / "storage").write_text("a file")
    with pytest.raises(StorageError, match=f"cannot prepare the dataset in {tmp_path}/storage"):
        prepare(corpus, tmp_path / "storage")


def test_a_folder_that_is_no_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*manifest\.json"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"manifest\.json is not the manifest"):
        read_manifest(tmp_path)
