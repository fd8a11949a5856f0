from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import StorageError
from orchestrator.domain.journal import JournalReader, JournalWriter, read_journal


def write(folder: Path, *steps: int, max_bytes: int = 8 << 20) -> None:
    with JournalWriter(folder, "events", max_bytes=max_bytes) as journal:
        for step in steps:
            journal.append({"step": step})
            journal.flush()


def steps(reader: JournalReader, after_seq: int, limit: int = 1000) -> list[int]:
    return [record["step"] for record in reader.read(after_seq, limit)]


def test_each_answer_goes_on_where_the_one_before_ended(tmp_path: Path) -> None:
    reader = JournalReader(tmp_path, "events")
    assert reader.read(0) == []
    with JournalWriter(tmp_path, "events") as journal:
        journal.append({"step": 1})
        journal.append({"step": 2})
        journal.flush()
        assert reader.read(0) == [{"seq": 1, "step": 1}, {"seq": 2, "step": 2}]
        assert reader.read(2) == []
        journal.append({"step": 3})
        journal.flush()
        assert steps(reader, 2) == [3]
    assert steps(reader, 3) == []


def test_what_nobody_took_in_is_told_again(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3)
    reader = JournalReader(tmp_path, "events")
    assert steps(reader, 1) == steps(reader, 1) == [2, 3]
    assert steps(reader, 0) == [1, 2, 3]
    assert steps(reader, 2) == [3]


def test_what_was_read_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1, 2, 3)
    reader = JournalReader(tmp_path, "events")
    assert steps(reader, 0) == [1, 2, 3]
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was opened where nothing is new"))
    monkeypatch.setattr(Path, "read_bytes", lambda *_: pytest.fail("the segment was read again"))
    assert reader.read(3) == []


def test_a_newer_writer_and_what_the_older_one_left_torn_are_followed(tmp_path: Path) -> None:
    write(tmp_path, 1)
    reader = JournalReader(tmp_path, "events")
    assert steps(reader, 0) == [1]
    with (tmp_path / "events-000001.jsonl").open("ab") as file:
        file.write(b'{"seq":2,"crc":"00')
    assert steps(reader, 1) == []
    write(tmp_path, 2)
    assert steps(reader, 1) == [2]
    write(tmp_path)
    write(tmp_path, 3)
    assert steps(reader, 2) == [3]


def test_a_line_is_told_once_it_is_whole(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    segment = tmp_path / "events-000001.jsonl"
    content = segment.read_bytes()
    segment.write_bytes(content[:-3])
    reader = JournalReader(tmp_path, "events")
    assert steps(reader, 0) == [1]
    segment.write_bytes(content)
    assert steps(reader, 1) == [2]


@settings(max_examples=60, deadline=None)
@given(
    num_records=st.integers(0, 12),
    max_bytes=st.integers(1, 120),
    limit=st.integers(1, 5),
    jumps=st.lists(st.integers(0, 12), max_size=4),
)
def test_it_tells_what_read_journal_tells(
    tmp_path_factory: pytest.TempPathFactory, num_records: int, max_bytes: int, limit: int, jumps: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    write(folder, *range(num_records), max_bytes=max_bytes)
    reader = JournalReader(folder, "events")
    everything: list[dict[str, Any]] = []
    while batch := reader.read(len(everything), limit):
        everything += batch
    assert everything == list(read_journal(folder, "events"))
    for after_seq in jumps:
        assert reader.read(after_seq, limit) == everything[after_seq : after_seq + limit]


def test_a_record_that_is_lost_between_two_segments_is_missed(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, max_bytes=1)
    (tmp_path / "events-000002.jsonl").write_bytes(b"")
    with pytest.raises(StorageError, match=r"events-000003\.jsonl:1: record 2 is missing, found record 3"):
        JournalReader(tmp_path, "events").read(0)


def test_a_broken_line_is_named_with_its_number_however_far_the_reader_is(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3)
    reader = JournalReader(tmp_path, "events")
    assert steps(reader, 0) == [1, 2, 3]
    with (tmp_path / "events-000001.jsonl").open("ab") as file:
        file.write(b"nonsense\n")
    with pytest.raises(StorageError, match=r"events-000001\.jsonl:4: the line is broken"):
        reader.read(3)


def test_numbers_that_a_power_cut_took_back_are_passed_over(tmp_path: Path) -> None:
    """The reader knows of record 3; the disk lost it, and the next writer used the number again."""
    write(tmp_path, 1, 2)
    reader = JournalReader(tmp_path, "events")
    assert reader.read(3) == []
    write(tmp_path, 30, 40)
    assert steps(reader, 3) == [40]
