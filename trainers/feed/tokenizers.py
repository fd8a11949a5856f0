"""Text to token ids and back: bytes, a BPE trained on the corpus, or a given tokenizer.json.

The package `tokenizers` is imported only where a run needs it.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.domain.errors import DataError

END_OF_TEXT: Final = 256
"""Of the tokenizer `bytes`."""
VOCABULARY: Final = 257
"""Of the tokenizer `bytes`."""
TOKENIZER_FILE: Final = "tokenizer.json"
_END: Final = "<|endoftext|>"
_USUAL_ENDS: Final = (_END, "</s>", "<eos>", "<|end_of_text|>", "[SEP]")
_TRAINING_BYTES: Final = 256 << 20


class Tokenizer(Protocol):
    """What the feed and a task need of a tokenizer."""

    @property
    def vocabulary(self) -> int:
        """Number of ids, `end_of_text` included."""
        ...

    @property
    def end_of_text(self) -> int:
        """The id that ends a document, and pads the last row."""
        ...

    def encode(self, text: str) -> NDArray[np.unsignedinteger]:
        """The ids of a text, without an end of text."""
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of ids; what is no UTF-8 becomes U+FFFD."""
        ...


class ByteTokenizer:
    """An id is a byte, and one more ends a document. Nothing is decoded, so any file is valid."""

    vocabulary = VOCABULARY
    end_of_text = END_OF_TEXT

    def encode(self, text: str) -> NDArray[np.unsignedinteger]:
        return self.encode_bytes(text.encode("utf-8", errors="surrogateescape"))

    def encode_bytes(self, content: bytes) -> NDArray[np.unsignedinteger]:
        return np.frombuffer(content, dtype=np.uint8).astype("<u2")

    def decode(self, tokens: Iterable[int]) -> str:
        return bytes(token for token in tokens if token < END_OF_TEXT).decode("utf-8", errors="replace")


class JsonTokenizer:
    """What a tokenizer.json says; pickles as that text."""

    def __init__(self, content: str, name: str) -> None:
        self._origin = (content, name)
        try:
            self._inner = _library().Tokenizer.from_str(content)
        except DataError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise DataError(f"{name} is not a tokenizer.json: {error}") from error
        self.vocabulary: int = self._inner.get_vocab_size(with_added_tokens=True)
        ends = (self._inner.token_to_id(word) for word in _USUAL_ENDS)
        end = next((number for number in ends if number is not None), None)
        if end is None:
            raise DataError(
                f"{name} has no token that ends a text", hint=f"Add one of {', '.join(_USUAL_ENDS)} to it."
            )
        self.end_of_text: int = end

    def encode(self, text: str) -> NDArray[np.unsignedinteger]:
        ids = self._inner.encode(text, add_special_tokens=False).ids
        return np.array(ids, dtype=np.uint32)

    def decode(self, tokens: Iterable[int]) -> str:
        text: str = self._inner.decode([token for token in tokens if token != self.end_of_text])
        return text

    def __reduce__(self) -> tuple[type["JsonTokenizer"], tuple[str, str]]:
        return JsonTokenizer, self._origin


def load_tokenizer(name: str, folder: Path) -> Tokenizer:
    """The tokenizer of a recipe; a trained one lies in the `folder` of the store.

    Raises DataError where its file cannot be read or is none.
    """
    if name == "bytes":
        return ByteTokenizer()
    path = folder / TOKENIZER_FILE if name == "bpe" else Path(name).expanduser()
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the tokenizer {path}: {error}") from error
    return JsonTokenizer(content, str(path))


def train_bpe(texts: Iterator[str], vocabulary: int) -> str:
    """The tokenizer.json of a byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2, Radford et al. 2019).

    Trained on the first 256 MiB of text; the same texts in the same order give the same file.
    """
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_END],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_at_most(texts, _TRAINING_BYTES), trainer)
    content: str = tokenizer.to_str(pretty=False)
    return json.dumps(json.loads(content), ensure_ascii=False) + "\n"


def library_version() -> str:
    version: str = _library().__version__
    return version


def _at_most(texts: Iterator[str], num_bytes: int) -> Iterator[str]:
    for text in texts:
        if num_bytes <= 0:
            return
        num_bytes -= len(text.encode("utf-8", errors="replace"))
        yield text


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise DataError(
            "data.tokenizer needs the package 'tokenizers', which is not installed here",
            hint="pip install tokenizers~=0.23, or set data.tokenizer to bytes.",
        ) from error
    return tokenizers
