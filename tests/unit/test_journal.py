import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import StorageError
from orchestrator.domain.journal import JournalWriter, read_journal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)
RECORDS = st.lists(st.dictionaries(st.text().filter(lambda key: key not in ("seq", "crc")), JSON))


def write(folder: Path, *records: dict[str, Any], max_bytes: int = 8 << 20) -> None:
    with JournalWriter(folder, "ledger", max_bytes=max_bytes) as journal:
        for record in records:
            journal.append(record)
            journal.flush()


def steps(folder: Path, after_seq: int = 0) -> list[int]:
    return [record["step"] for record in read_journal(folder, "ledger", after_seq=after_seq)]


def first_segment(folder: Path) -> Path:
    return folder / "ledger-000001.jsonl"


@pytest.fixture(scope="module")
def three_lines(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("journal")
    write(folder, {"step": 1, "loss": 2.5}, {"step": 2, "note": "ünïcode \n"}, {"step": 3})
    return first_segment(folder).read_bytes()


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(records=RECORDS, max_bytes=st.integers(1, 200))
def test_what_was_appended_is_read_back_in_order_over_any_segments(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], max_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    write(folder, *records, max_bytes=max_bytes)
    found = list(read_journal(folder, "ledger"))
    assert found == [{"seq": seq, **record} for seq, record in enumerate(records, start=1)]
    for after_seq in range(len(records) + 1):
        assert list(read_journal(folder, "ledger", after_seq=after_seq)) == found[after_seq:]


def test_a_line_is_json_with_its_number_and_checksum_first(three_lines: bytes) -> None:
    line = json.loads(three_lines.splitlines()[0])
    assert list(line) == ["seq", "crc", "step", "loss"]
    assert line["seq"] == 1


@settings(deadline=None)
@given(data=st.data())
def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, three_lines: bytes, data: st.DataObject
) -> None:
    content = three_lines[: data.draw(st.integers(0, len(three_lines)))]
    whole = content.count(b"\n")
    folder = tmp_path_factory.mktemp("journal")
    first_segment(folder).write_bytes(content)
    assert steps(folder) == [1, 2, 3][:whole]
    with JournalWriter(folder, "ledger") as journal:
        assert journal.append({"step": 9}) == whole + 1
    assert steps(folder) == [*[1, 2, 3][:whole], 9]


@settings(deadline=None)
@given(data=st.data())
def test_any_flipped_byte_is_found_and_its_file_and_line_named(
    tmp_path_factory: pytest.TempPathFactory, three_lines: bytes, data: st.DataObject
) -> None:
    # The last newline is the exception: without it the last line is torn, and torn is legal.
    content = bytearray(three_lines)
    place = data.draw(st.integers(0, len(content) - 2))
    content[place] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("journal")
    first_segment(folder).write_bytes(content)
    number = three_lines[:place].count(b"\n") + 1
    with pytest.raises(StorageError, match=rf"ledger-000001\.jsonl:{number}: "):
        list(read_journal(folder, "ledger"))


def test_a_record_that_is_lost_between_two_segments_is_missed(tmp_path: Path) -> None:
    write(tmp_path, {"step": 1}, {"step": 2})
    write(tmp_path, {"step": 3})
    first_segment(tmp_path).write_bytes(first_segment(tmp_path).read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"ledger-000002\.jsonl:1: record 2 is missing, found record 3"):
        steps(tmp_path)


def test_a_lost_first_segment_is_missed(tmp_path: Path) -> None:
    write(tmp_path, *({"step": step} for step in range(4)), max_bytes=1)
    first_segment(tmp_path).unlink()
    with pytest.raises(StorageError, match="record 1 is missing"):
        steps(tmp_path)


def test_readers_see_what_was_flushed_while_the_writer_goes_on(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "ledger") as journal:
        journal.append({"step": 1})
        assert steps(tmp_path) == []
        journal.flush()
        assert steps(tmp_path) == [1]
        journal.append({"step": 2})
        journal.sync()
        assert steps(tmp_path, after_seq=1) == [2]
        assert journal.last_seq == 2


def test_a_reader_in_the_middle_is_not_disturbed_by_new_segments(tmp_path: Path) -> None:
    write(tmp_path, {"step": 1}, {"step": 2})
    reader = read_journal(tmp_path, "ledger")
    assert next(reader)["step"] == 1
    write(tmp_path, {"step": 3}, max_bytes=1)
    assert [record["step"] for record in reader] == [2]
    assert steps(tmp_path, after_seq=2) == [3]


def test_old_segments_are_not_read_for_new_records(tmp_path: Path) -> None:
    write(tmp_path, *({"step": step} for step in range(1, 6)), max_bytes=1)
    first_segment(tmp_path).write_text("broken\n")
    assert steps(tmp_path, after_seq=3) == [4, 5]


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    write(tmp_path, {"step": 1})
    assert list(read_journal(tmp_path, "chain")) == []
    assert list(read_journal(tmp_path / "elsewhere", "ledger")) == []


def test_journals_whose_names_begin_alike_are_kept_apart(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "ledger-old") as journal:
        journal.append({"step": 7})
    write(tmp_path, {"step": 1})
    assert steps(tmp_path) == [1]


def test_a_zombie_writer_is_refused_once_a_newer_one_took_over(tmp_path: Path) -> None:
    zombie = JournalWriter(tmp_path, "ledger")
    zombie.append({"step": 1})
    zombie.flush()
    write(tmp_path, {"step": 2})
    zombie.append({"step": 666})
    with pytest.raises(StorageError, match="a newer writer took over"):
        zombie.close()
    assert steps(tmp_path) == [1, 2]


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with JournalWriter(tmp_path, "ledger") as journal:
        journal.append({"step": 1})
        with monkeypatch.context() as patch:
            patch.setattr("orchestrator.domain.journal.os.write", half_of_it_then_full(os.write))
            with pytest.raises(StorageError, match="No space left on device") as caught:
                journal.flush()
        assert "free some space" in caught.value.hint
        assert steps(tmp_path) == []
        journal.append({"step": 2})
    assert steps(tmp_path) == [1, 2]


def half_of_it_then_full(write: Any) -> Any:
    calls = iter([True])

    def failing(descriptor: int, content: bytearray) -> int:
        if next(calls, False):
            return int(write(descriptor, content[: len(content) // 2]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return failing


def test_a_folder_that_cannot_be_made_is_one_sentence_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*Not a directory") as caught:
        JournalWriter(tmp_path / "file" / "outbox", "ledger")
    assert "checkpoint.storage" in caught.value.hint


@pytest.mark.parametrize("field", ["seq", "crc"])
def test_a_record_must_not_bring_the_fields_of_the_journal(tmp_path: Path, field: str) -> None:
    with JournalWriter(tmp_path, "ledger") as journal, pytest.raises(ValueError, match="seq and crc"):
        journal.append({field: 1})


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    journal = JournalWriter(tmp_path, "ledger")
    journal.append({"step": 1})
    journal.close()
    journal.close()
    assert steps(tmp_path) == [1]
