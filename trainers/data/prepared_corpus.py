"""A corpus as token ids on disk: written once per content, read by every worker.

`STORAGE/.datasets/FINGERPRINT/tokens.bin` holds little-endian uint16 ids, each document followed by an end of
text; `manifest.json` beside it says what they are and carries their checksum.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.domain.disk import replace_text, storage_errors, sync_path
from orchestrator.domain.errors import DataError
from trainers.data.byte_tokenizer import END_OF_TEXT, VOCABULARY
from trainers.data.text_corpus import Corpus, CorpusFile

TOKENS_FILE: Final = "tokens.bin"
TOKEN_DTYPE: Final = np.dtype("<u2")
_MANIFEST_FILE: Final = "manifest.json"
_FORMAT: Final = 1
_CHUNK: Final = 1 << 22


class SkippedEntry(BaseModel):
    """A file that is not in the tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    reason: str


class Manifest(BaseModel):
    """What a prepared corpus is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = _FORMAT
    fingerprint: str
    """SHA-256 over the tokenizer and each file's relative path, size and content."""
    source: str
    """`data.source` of the first run that prepared it."""
    tokenizer: str
    vocabulary: int
    num_files: int
    num_bytes: int
    """Of the files, before the end of text ids."""
    num_tokens: int
    sha256: str
    """Of the tokens file."""
    num_skipped: int
    skipped: tuple[SkippedEntry, ...]


def prepare(corpus: Corpus, storage: Path) -> Path:
    """The folder with the tokens of a corpus; written if it is not there yet, or is there and broken.

    Each file is read once to know the content, and once more if the tokens must be written. Several workers
    may prepare one corpus at a time: the first to finish wins.

    Raises:
        DataError: a file cannot be read, or is being changed.
        StorageError: the storage cannot be written.
    """
    digests = [_digest(file) for file in corpus.files]
    fingerprint = _fingerprint(corpus, digests)
    folder = storage / ".datasets" / fingerprint
    if _is_whole(folder):
        return folder
    aside = folder.with_name(f".{fingerprint}.{uuid.uuid4().hex}")
    with storage_errors("prepare the dataset in", folder.parent):
        aside.mkdir(parents=True)
        try:
            _write(corpus, digests, fingerprint, aside)
            _install(aside, folder)
            sync_path(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a prepared corpus; raises DataError where it is missing or broken."""
    path = folder / _MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise DataError(f"{path} is not the manifest of a prepared dataset") from error


def _is_whole(folder: Path) -> bool:
    tokens = folder / TOKENS_FILE
    try:
        manifest = read_manifest(folder)
        if manifest.format != _FORMAT or manifest.fingerprint != folder.name:
            return False
        if tokens.stat().st_size != manifest.num_tokens * TOKEN_DTYPE.itemsize:
            return False
        with tokens.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == manifest.sha256
    except (DataError, OSError):
        return False


def _fingerprint(corpus: Corpus, digests: list[str]) -> str:
    files = [(file.name, file.size, digest) for file, digest in zip(corpus.files, digests, strict=True)]
    skipped = [(entry.name, entry.reason) for entry in corpus.skipped]
    content = json.dumps([_FORMAT, corpus.tokenizer, files, skipped])
    return hashlib.sha256(content.encode()).hexdigest()


def _digest(file: CorpusFile) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(file: CorpusFile) -> Iterator[bytes]:
    num_bytes = 0
    try:
        with file.path.open("rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK):
                num_bytes += len(chunk)
                yield chunk
    except OSError as error:
        raise DataError(f"cannot read {file.path}: {error.strerror}") from error
    if num_bytes != file.size:
        raise _changed(file)


def _changed(file: CorpusFile) -> DataError:
    return DataError(f"{file.path} is being changed while it is read; start again when it is complete")


def _write(corpus: Corpus, digests: list[str], fingerprint: str, folder: Path) -> None:
    with (folder / TOKENS_FILE).open("wb", buffering=_CHUNK) as tokens:
        sha256 = _write_tokens(corpus, digests, tokens)
        tokens.flush()
        os.fsync(tokens.fileno())
    manifest = Manifest(
        fingerprint=fingerprint,
        source=corpus.source,
        tokenizer=corpus.tokenizer,
        vocabulary=VOCABULARY,
        num_files=len(corpus.files),
        num_bytes=corpus.num_bytes,
        num_tokens=corpus.num_bytes + len(corpus.files),
        sha256=sha256,
        num_skipped=len(corpus.skipped),
        skipped=tuple(SkippedEntry(name=entry.name, reason=entry.reason) for entry in corpus.skipped),
    )
    replace_text(folder / _MANIFEST_FILE, json.dumps(manifest.model_dump(), indent=2) + "\n")


def _write_tokens(corpus: Corpus, digests: list[str], tokens: BinaryIO) -> str:
    written = hashlib.sha256()
    end_of_text = np.array([END_OF_TEXT], dtype=TOKEN_DTYPE).tobytes()
    for file, expected in zip(corpus.files, digests, strict=True):
        content = hashlib.sha256()
        for chunk in _chunks(file):
            content.update(chunk)
            encoded = np.frombuffer(chunk, dtype=np.uint8).astype(TOKEN_DTYPE).tobytes()
            written.update(encoded)
            tokens.write(encoded)
        if content.hexdigest() != expected:
            raise _changed(file)
        written.update(end_of_text)
        tokens.write(end_of_text)
    return written.hexdigest()


def _install(aside: Path, folder: Path) -> None:
    try:
        aside.rename(folder)
    except OSError:
        if _is_whole(folder):
            return
        # What stands there is broken. Readers that have it open keep it; nobody opens it any more.
        broken = folder.with_name(f"{aside.name}.broken")
        folder.rename(broken)
        aside.rename(folder)
        shutil.rmtree(broken, ignore_errors=True)
