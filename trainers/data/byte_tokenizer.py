"""The tokenizer `bytes`: an id is a byte, and one more id ends a document. Nothing is decoded, so any file is
valid."""

from collections.abc import Iterable
from typing import Final

END_OF_TEXT: Final = 256
VOCABULARY: Final = 257


def encode(text: str) -> list[int]:
    return list(text.encode("utf-8", errors="surrogateescape"))


def decode(tokens: Iterable[int]) -> str:
    """The text of byte ids (0..255); what is no UTF-8 becomes U+FFFD."""
    return bytes(tokens).decode("utf-8", errors="replace")
