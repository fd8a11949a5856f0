"""What each format gives, what is bad in it, and that it is named."""

import csv
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.domain.errors import DataError
from tests.unit.feed_files import documents, fed, filled, lines, rows_in, scanned
from trainers.feed.filling import store_folder
from trainers.feed.rows import FeedRows


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    source = documents(tmp_path / "text", b"one", "zw\u00f6lf".encode())
    assert fed(tmp_path, source) == [
        {"name": "000.txt", "text": "one"},
        {"name": "001.txt", "text": "zw\u00f6lf"},
    ]


def test_packed_text_is_bytes_with_an_end_after_each_document(tmp_path: Path) -> None:
    rows = fed(tmp_path, documents(tmp_path / "text", b"ab", b"\xff"), context=2)
    assert [row.tokens.tolist() for row in rows] == [[97, 98, 256], [256, 255, 256]]
    assert [row.num_targets for row in rows] == [2, 2]


def test_objects_of_json_lines_are_rows_and_missing_fields_are_null(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"n": 1, "x": [1.5, 2]}, "", {"n": 2.5}, {"x": [], "s": "t"})
    rows = fed(tmp_path, source, format="jsonl")
    assert [row["n"] for row in rows] == [1.0, 2.5, None]
    assert rows[0]["x"].tolist() == [1.5, 2.0]
    assert [row["s"] for row in rows] == [None, None, "t"]


def test_files_with_different_columns_agree_on_one_schema(tmp_path: Path) -> None:
    lines(tmp_path / "in" / "a.jsonl", {"n": 1})
    lines(tmp_path / "in" / "b.jsonl", {"n": 1.5, "m": 2})
    assert fed(tmp_path, tmp_path / "in", format="jsonl") == [{"n": 1.0, "m": None}, {"n": 1.5, "m": 2}]


def test_files_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    lines(tmp_path / "in" / "a.jsonl", {"n": 1})
    lines(tmp_path / "in" / "b.jsonl", {"n": "one"})
    with pytest.raises(DataError, match=r"the columns of b\.jsonl do not go with those of a\.jsonl"):
        scanned(tmp_path, tmp_path / "in", format="jsonl")


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"a": 1, "b": 2})
    assert fed(tmp_path, source, format="jsonl", columns=("b",)) == [{"b": 2}]
    with pytest.raises(DataError, match=r"a\.jsonl has no column 'c', only 'a', 'b'"):
        scanned(tmp_path, source, format="jsonl", columns=("c",))


def test_csv_columns_have_the_narrowest_type_that_holds_all_values(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("i", "f", "s"), ("1", "1", "x"), ("", "2.5", 'two\nlines, "quoted"'), ("3", "", "")]
        )
    assert fed(tmp_path, source, format="csv") == [
        {"i": 1, "f": 1.0, "s": "x"},
        {"i": None, "f": 2.5, "s": 'two\nlines, "quoted"'},
        {"i": 3, "f": None, "s": ""},
    ]


def test_parquet_rows_come_as_they_are(tmp_path: Path) -> None:
    table = pa.table({"n": [1, 2], "v": [[1.0], [2.0, 3.0]], "s": pa.array(["a", "b"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = fed(tmp_path, tmp_path / "a.parquet", format="parquet")
    assert [(row["n"], row["s"]) for row in rows] == [(1, "a"), (2, "b")]
    assert rows[1]["v"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_the_same_texts_are_the_same_rows_in_every_format(tmp_path: Path, kind: str) -> None:
    texts = ["first", "", "zw\u00f6lf, \n and more", "x" * 50]
    source = tmp_path / f"a.{kind}"
    match kind:
        case "jsonl":
            lines(source, *({"text": text} for text in texts))
        case "csv":
            with source.open("w", newline="") as file:
                csv.writer(file).writerows([("text", "n"), *((text, 1) for text in texts)])
        case _:
            pq.write_table(pa.table({"text": texts}), source)
    found = scanned(tmp_path, source, 8, format=kind)
    rows = rows_in(filled(found, tmp_path))
    stream = [token for text in texts for token in [*text.encode(), 256]]
    targets = [token for row in rows for token in row.tokens[1 : row.num_targets + 1].tolist()]
    assert targets == stream[1:]
    assert found.num_rows == len(rows) == math.ceil((len(stream) - 1) / 8)


BAD: dict[str, tuple[str, dict[str, Any], str, int]] = {
    "jsonl": ('{"text": "a"}\n{"text": \n{"text": "b"}\n', {}, r"a\.jsonl: row 2 is no JSON", 2),
    "list.jsonl": ('{"text": "a"}\n[1]\n', {}, r"row 2 is no JSON object", 1),
    "nan.jsonl": ('{"x": NaN}\n{"x": 1.5}\n', {}, r"row 1 is no JSON: NaN", 1),
    "mixed.jsonl": ('{"x": 1}\n{"x": "one"}\n', {}, r"row 2 does not go with the rows before", 1),
    "csv": ("a,b\n1,2\n1,2,3\n4,5\n", {}, r"a\.csv: row 2 has 3 fields, expected 2", 2),
    "quote.csv": ('a,b\n1,2\n"x" y,5\n3,4\n', {}, r"row 2 is no CSV", 2),
    "latin.csv": ("a,b\n1,2\n\udce4,5\n", {}, r"row 2 is no UTF-8", 1),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_ends_the_scan_or_is_left_out_by_name(tmp_path: Path, case: str) -> None:
    content, data, sentence, num_good = BAD[case]
    kind = case.rpartition(".")[2]
    source = tmp_path / f"a.{kind}"
    source.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=sentence):
        scanned(tmp_path, source, format=kind, **data)
    found = scanned(tmp_path, source, format=kind, on_bad_row="skip", **data)
    assert (found.num_bad_rows, found.num_rows) == (1, num_good)
    assert [part.name for part in found.skipped] == [source.name]
    assert len(rows_in(filled(found, tmp_path))) == num_good


def test_a_line_without_text_is_bad_where_text_is_packed(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"text": "abc"}, {"other": 1}, {"text": 5})
    with pytest.raises(DataError, match=r"row 2 has no text in 'text'"):
        scanned(tmp_path, source, 2, format="jsonl")
    found = scanned(tmp_path, source, 2, format="jsonl", on_bad_row="skip")
    assert [part.reason for part in found.skipped] == [f"row {n} has no text in 'text'" for n in (2, 3)]


def test_only_ten_bad_rows_of_a_file_are_named_and_all_are_counted(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"x": 1}, *("no" for _ in range(30)))
    found = scanned(tmp_path, source, format="jsonl", on_bad_row="skip")
    assert (found.num_bad_rows, len(found.skipped)) == (30, 10)


def test_a_cut_parquet_file_is_named_or_skipped_whole(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        pq.write_table(pa.table({"n": list(range(1000))}), folder / f"{name}.parquet")
    whole = (folder / "b.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"b\.parquet is no whole Parquet file"):
        scanned(tmp_path, folder, format="parquet")
    found = scanned(tmp_path, folder, format="parquet", on_bad_row="skip")
    assert found.num_rows == 1000
    assert found.skipped[0].name == "b.parquet"


def test_a_parquet_file_that_is_broken_inside_is_named_with_its_rows(tmp_path: Path) -> None:
    source = tmp_path / "a.parquet"
    texts = [f"{number:040d}" for number in range(3000)]
    pq.write_table(pa.table({"text": texts}), source, row_group_size=1000, compression="zstd")
    content = bytearray(source.read_bytes())
    start = pq.ParquetFile(source).metadata.row_group(1).column(0).dictionary_page_offset
    content[start : start + 40] = b"\xff" * 40
    source.write_bytes(content)
    broken = r"a\.parquet is broken between row 1001 and 3000"
    # A footer is all that a scan reads of it, and no row of it gets beyond the store.
    found = scanned(tmp_path, source, format="parquet")
    with pytest.raises(DataError, match=broken):
        filled(found, tmp_path)
    with pytest.raises(DataError, match=broken):
        FeedRows(store_folder(found, tmp_path), 0, 3000, patience_s=0)[1000]
    with pytest.raises(DataError, match=broken):
        scanned(tmp_path, source, 16, format="parquet", text_column="text")


def test_text_that_is_no_utf_8_is_bad_where_it_must_be_text(tmp_path: Path) -> None:
    source = documents(tmp_path / "text", b"ok", b"no \xe4")
    with pytest.raises(DataError, match=r"001\.txt: is no UTF-8 at byte 3"):
        scanned(tmp_path, source)
    found = scanned(tmp_path, source, on_bad_row="skip")
    assert (found.num_rows, found.num_bad_rows) == (1, 1)


def test_images_are_decoded_and_a_broken_one_is_named(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="the package pillow is not installed")
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    folder = tmp_path / "in"
    folder.mkdir()
    pillow.fromarray(pixels).save(folder / "a.png")
    pillow.fromarray(pixels[:, :, 0]).save(folder / "b.png")
    found, grey = fed(tmp_path, folder, format="images")
    assert found["name"] == "a.png"
    assert (found["image"] == pixels).all()
    assert grey["image"].shape == (2, 4, 1)
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"c\.png: does not decode as an image"):
        scanned(tmp_path, folder, format="images")
    assert scanned(tmp_path, folder, format="images", on_bad_row="skip").num_rows == 2


def transforming(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "my_transform.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("my_transform", None)


def test_a_transform_makes_a_row_of_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transforming(tmp_path, "def double(row):\n    return {'m': 2 * row['n']}\n", monkeypatch)
    source = lines(tmp_path / "a.jsonl", *({"n": n} for n in range(2500)))
    found = scanned(tmp_path, source, format="jsonl", transform="my_transform:double")
    assert found.num_rows == 2500
    assert rows_in(filled(found, tmp_path)) == [{"m": 2 * n} for n in range(2500)]


def test_a_transform_of_files_gets_one_file_per_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def first(table):\n    return table.slice(0, 1)\n"
    transforming(tmp_path, code, monkeypatch)
    lines(tmp_path / "in" / "a.jsonl", *({"n": n} for n in range(1500)))
    lines(tmp_path / "in" / "b.jsonl", {"n": 7}, {"n": 8})
    data = {"format": "jsonl", "transform": "my_transform:first", "transform_per": "file"}
    found = scanned(tmp_path, tmp_path / "in", **data)
    assert found.num_rows is None
    assert rows_in(filled(found, tmp_path)) == [{"n": 0}, {"n": 7}]


def test_a_transform_may_make_the_text_that_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transforming(tmp_path, "def shout(row):\n    return {'text': row['text'].upper()}\n", monkeypatch)
    source = documents(tmp_path / "text", b"ab", b"c")
    found = scanned(tmp_path, source, 4, transform="my_transform:shout")
    assert found.num_rows is None
    assert rows_in(filled(found, tmp_path))[0].tokens.tolist() == [65, 66, 256, 67, 256]


def test_a_row_for_which_the_transform_raises_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def check(row):\n    assert row['n'] != 3, 'three'\n    return row\n"
    transforming(tmp_path, code, monkeypatch)
    source = lines(tmp_path / "a.jsonl", *({"n": n} for n in range(5)))
    data = {"format": "jsonl", "transform": "my_transform:check"}
    found = scanned(tmp_path, source, **data, on_bad_row="skip")
    assert found.num_rows is None
    assert [row["n"] for row in rows_in(filled(found, tmp_path))] == [0, 1, 2, 4]
    with pytest.raises(DataError, match=r"a\.jsonl: row 4: data\.transform my_transform:check: .*three"):
        scanned(tmp_path, source, **data)


def test_another_code_of_the_transform_is_another_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = lines(tmp_path / "a.jsonl", {"n": 1})
    data = {"format": "jsonl", "transform": "my_transform:same"}
    fingerprints = set()
    for comment in ("", "# mended\n"):
        transforming(tmp_path, f"{comment}def same(row):\n    return row\n", monkeypatch)
        fingerprints.add(scanned(tmp_path, source, **data).fingerprint)
    assert len(fingerprints) == 2


def test_a_transform_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no module 'nowhere_at_all'"):
        scanned(tmp_path, documents(tmp_path / "text", b"x"), transform="nowhere_at_all:f")
