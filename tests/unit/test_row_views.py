"""How a row comes out of Arrow: the same values whatever the layout, and nothing that can be written to."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trainers.feed.images import IMAGE
from trainers.feed.row_views import view_of
from trainers.feed.segment_file import segment_bytes

_LISTS = [[1.5, 2.5], [], [3.5], [4.5, 5.5, 6.5]]


def _mapped(table: pa.Table) -> pa.Table:
    """As a reader gets it: over memory that is not its own."""
    return pa.ipc.open_file(segment_bytes(table)).read_all()


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    view = view_of(table)
    return [view.row(offset) for offset in range(table.num_rows)]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64())])
def test_lists_of_numbers_are_arrays_that_cannot_be_written_to(kind: pa.DataType) -> None:
    rows = _rows(_mapped(pa.table({"curve": pa.array(_LISTS, kind)})))
    assert [row["curve"].tolist() for row in rows] == _LISTS
    assert {row["curve"].dtype for row in rows} == {np.dtype(kind.value_type.to_pandas_dtype())}
    with pytest.raises(ValueError, match="read-only"):
        rows[0]["curve"][0] = 7


def test_lists_of_one_size_are_read_from_any_part_of_a_table() -> None:
    table = pa.table({"pair": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int16(), 2))})
    assert [row["pair"].tolist() for row in _rows(_mapped(table))] == [[1, 2], [3, 4], [5, 6]]
    assert [row["pair"].tolist() for row in _rows(table.slice(1))] == [[3, 4], [5, 6]]


def test_a_slice_of_lists_begins_at_its_own_first_row() -> None:
    table = pa.table({"curve": pa.array(_LISTS, pa.list_(pa.float32()))})
    assert [row["curve"].tolist() for row in _rows(table.slice(2))] == _LISTS[2:]


def test_what_is_null_is_none_and_a_null_number_is_not_a_number() -> None:
    table = _mapped(
        pa.table(
            {
                "curve": pa.array([[1.0], None, []], pa.list_(pa.float32())),
                "gaps": pa.array([[1.0, None], None, [2.0]], pa.list_(pa.float32())),
                "name": pa.array(["a", None, "c"]),
            }
        )
    )
    rows = _rows(table)
    assert rows[1] == {"curve": None, "gaps": None, "name": None}
    assert rows[0]["curve"].tolist() == [1.0]
    assert rows[0]["gaps"][0] == 1.0
    assert math.isnan(rows[0]["gaps"][1])
    assert rows[2]["name"] == "c"


def test_images_have_their_shape_and_cannot_be_written_to() -> None:
    pixels = [bytes(range(12)), None, bytes(range(6))]
    found = [
        None if content is None else {"height": 2, "width": size, "channels": 3, "pixels": content}
        for content, size in zip(pixels, (2, 0, 1), strict=True)
    ]
    rows = _rows(_mapped(pa.table({"image": pa.array(found, IMAGE)})))
    assert [None if row["image"] is None else row["image"].shape for row in rows] == [
        (2, 2, 3),
        None,
        (2, 1, 3),
    ]
    assert rows[0]["image"].tobytes() == pixels[0]
    with pytest.raises(ValueError, match="read-only"):
        rows[0]["image"][0, 0, 0] = 1


def test_other_values_are_pythons_own() -> None:
    content = {"label": [3, 4], "text": ["x", "y"], "tags": [["a"], []], "raw": [b"1", b"2"]}
    assert _rows(_mapped(pa.table(content))) == [
        {"label": 3, "text": "x", "tags": ["a"], "raw": b"1"},
        {"label": 4, "text": "y", "tags": [], "raw": b"2"},
    ]


def test_rows_in_several_chunks_are_read_as_one() -> None:
    table = pa.concat_tables([pa.table({"curve": pa.array([row], pa.list_(pa.float32()))}) for row in _LISTS])
    assert table.column("curve").num_chunks == len(_LISTS)
    assert [row["curve"].tolist() for row in _rows(table)] == _LISTS
