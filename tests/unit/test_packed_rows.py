import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import DataError
from orchestrator.domain.spec_training import DataSpec
from trainers.data.packed_rows import PackedRows, count_rows, text_rows


def tokens_file(folder: Path, num_tokens: int) -> Path:
    path = folder / "tokens.bin"
    np.arange(num_tokens, dtype="<u2").tofile(path)
    return path


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 100), st.integers(1, 40))
def test_each_token_but_the_first_is_a_target_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, num_tokens: int, context: int
) -> None:
    path = tokens_file(tmp_path_factory.mktemp("rows"), num_tokens)
    dataset = PackedRows(path, context, 0, count_rows(num_tokens, context))
    rows = [dataset[index] for index in range(len(dataset))]
    targets = [token for row in rows for token in row.tokens[1 : row.num_targets + 1].tolist()]
    inputs = [token for row in rows for token in row.tokens[: row.num_targets].tolist()]
    assert targets == list(range(1, num_tokens))
    assert inputs == list(range(num_tokens - 1))


def test_the_last_row_is_padded_and_says_how_far_it_counts(tmp_path: Path) -> None:
    rows = PackedRows(tokens_file(tmp_path, 8), 5, 0, 2)
    assert rows[0].tokens.tolist() == [0, 1, 2, 3, 4, 5]
    assert rows[1].tokens.tolist() == [5, 6, 7, 256, 256, 256]
    assert (rows[0].num_targets, rows[1].num_targets) == (5, 2)
    assert rows[0].tokens.dtype == np.int64


def test_a_part_of_the_rows_counts_from_its_own_start(tmp_path: Path) -> None:
    rows = PackedRows(tokens_file(tmp_path, 21), 5, 2, 4)
    assert len(rows) == 2
    assert rows[0].tokens.tolist() == [10, 11, 12, 13, 14, 15]
    for outside in (-1, 2):
        with pytest.raises(IndexError):
            rows[outside]


def test_rows_beyond_the_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected rows within"):
        PackedRows(tokens_file(tmp_path, 21), 5, 0, 5)


def test_rows_pickle_as_a_path_and_not_as_tokens(tmp_path: Path) -> None:
    rows = PackedRows(tokens_file(tmp_path, 50_000), 5, 2, 4)
    pickled = pickle.dumps(rows)
    assert len(pickled) < 1000
    assert pickle.loads(pickled)[1].tokens.tolist() == rows[1].tokens.tolist()


def a_source(folder: Path, num_bytes: int, validation_fraction: float) -> DataSpec:
    text = folder / "text.txt"
    text.write_bytes(b"x" * num_bytes)
    return DataSpec(source=str(text), validation_fraction=validation_fraction)


def test_the_last_part_of_the_rows_is_for_validation(tmp_path: Path) -> None:
    train, validation = text_rows(a_source(tmp_path, 1000, 0.25), tmp_path, context=10)
    assert validation is not None
    assert (len(train), len(validation)) == (75, 25)
    assert validation[24].tokens[-1] == 256


def test_a_small_fraction_still_holds_out_one_row_and_none_holds_out_none(tmp_path: Path) -> None:
    train, validation = text_rows(a_source(tmp_path, 100, 0.001), tmp_path, context=10)
    assert validation is not None
    assert (len(train), len(validation)) == (9, 1)
    train, validation = text_rows(a_source(tmp_path, 100, 0), tmp_path, context=10)
    assert (len(train), validation) == (10, None)


def test_too_little_text_to_hold_some_out_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 1 rows of 128 tokens, too few to hold some out"):
        text_rows(a_source(tmp_path, 5, 0.05), tmp_path, context=128)
