"""Text to ids and back, by bytes, a trained BPE or a given file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain.errors import DataError
from tests.unit.feed_files import documents, filled, rows_in, scanned
from trainers.feed.tokenizers import ByteTokenizer, JsonTokenizer, load_tokenizer, train_bpe

TEXTS = [
    "the cat sat on the mat, " * 20,
    "zw\u00f6lf Boxk\u00e4mpfer \u4f60\u597d",
    "the theme of the thesis\n" * 9,
]


def test_a_byte_is_an_id_and_decodes_again() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.encode("a\u00f6").tolist() == [97, 195, 182]
    assert tokenizer.decode([97, 195, 182, 256]) == "a\u00f6"
    assert (tokenizer.end_of_text, tokenizer.vocabulary) == (256, 257)


def test_a_tokenizer_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the tokenizer .*x\.json"):
        load_tokenizer(str(tmp_path / "x.json"), tmp_path)


def test_without_the_package_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match="needs the package 'tokenizers'") as caught:
        train_bpe(iter(TEXTS), 300)
    assert "pip install" in caught.value.hint


def test_a_trained_bpe_gives_back_every_text() -> None:
    pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    tokenizer = JsonTokenizer(train_bpe(iter(TEXTS), 290), "trained")
    assert tokenizer.vocabulary == 290
    for text in [*TEXTS, "never seen \U0001f600"]:
        ids = tokenizer.encode(text).tolist()
        assert tokenizer.end_of_text not in ids
        assert tokenizer.decode(ids) == text
    assert len(tokenizer.encode(TEXTS[0])) < len(TEXTS[0]) / 2


def test_the_same_texts_train_the_same_bpe_whatever_the_threads() -> None:
    pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    code = (
        "from pathlib import Path; import trainers.feed.tokenizers as t, hashlib;"
        "text = Path(t.__file__).read_text();"
        "print(hashlib.sha256(t.train_bpe(iter(text.splitlines(True)), 600).encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "4", "4")
    }
    assert len(found) == 1


def test_rows_of_a_trained_bpe_hold_the_corpus_and_its_tokenizer_lies_beside_them(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    source = documents(tmp_path / "text", *(text.encode() for text in TEXTS))
    found = scanned(tmp_path, source, 8, tokenizer="bpe", vocabulary=280)
    assert found.num_rows is None
    store = filled(found, tmp_path)
    tokenizer = load_tokenizer("bpe", store.folder)
    rows = rows_in(store)
    stream = [int(rows[0].tokens[0])]
    stream += [token for row in rows for token in row.tokens[1 : row.num_targets + 1].tolist()]
    assert stream.count(tokenizer.end_of_text) == len(TEXTS)
    assert tokenizer.decode(stream) == "".join(TEXTS)
    copied = tmp_path / "mine.json"
    copied.write_bytes((store.folder / "tokenizer.json").read_bytes())
    given = filled(scanned(tmp_path, source, 8, tokenizer=str(copied)), tmp_path)
    assert [row.tokens.tolist() for row in rows_in(given)] == [row.tokens.tolist() for row in rows]
    copied.write_text("{}")
    with pytest.raises(DataError, match=r"mine\.json is not a tokenizer\.json"):
        filled(scanned(tmp_path, source, 8, tokenizer=str(copied)), tmp_path)
