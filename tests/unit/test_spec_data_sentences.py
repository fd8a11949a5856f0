"""What is wrong in the section `data` of a spec is said in one sentence."""

from typing import Any

import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.domain.spec import RunSpec


@pytest.mark.parametrize(
    ("data", "field", "sentence"),
    [
        (
            {"source": "x", "format": "json"},
            "format",
            "unknown value 'json', did you mean 'jsonl'?",
        ),
        (
            {"tokenizer": "byte"},
            "tokenizer",
            "unknown tokenizer 'byte', did you mean 'bytes'?",
        ),
        (
            {"tokenizer": "gpt2"},
            "tokenizer",
            "unknown tokenizer 'gpt2', expected 'bytes', 'bpe' or the path of a tokenizer.json",
        ),
        (
            {"tokenizer": "bpe", "vocabulary": 256},
            "vocabulary",
            "expected at least 257, got 256",
        ),
        (
            {"vocabulary": 300},
            "vocabulary",
            "only bpe is trained to a vocabulary, the tokenizer is bytes; remove it",
        ),
        (
            {"transform": "clean"},
            "transform",
            "expected 'module:function' such as 'prepare:clean', got 'clean'",
        ),
        (
            {"transform_per": "file"},
            "transform_per",
            "there is no transform; name one or remove it",
        ),
        (
            {"source": "x", "columns": ["a"]},
            "columns",
            "only jsonl, csv and parquet have columns, text has none; remove it",
        ),
        (
            {"source": "x", "format": "images", "text_column": "a"},
            "text_column",
            "only jsonl, csv and parquet have columns, images has none; remove it",
        ),
        (
            {"source": "x", "format": "csv", "columns": ["a"], "text_column": "b"},
            "text_column",
            "expected one of data.columns, got 'b'",
        ),
        (
            {"source": "x", "format": "images", "tokenizer": "bpe"},
            "tokenizer",
            "images are not tokenised; remove it",
        ),
        (
            {"format": "csv"},
            "format",
            "dataset://stdlib is text, got csv; remove the format",
        ),
    ],
)
def test_what_cannot_be_read_so_is_refused_in_one_clear_sentence(
    data: dict[str, Any], field: str, sentence: str
) -> None:
    with pytest.raises(SpecError) as caught:
        RunSpec.parse({"task": "language_model", "data": data})
    assert {found.pointer: found.message for found in caught.value.problems} == {f"data.{field}": sentence}
