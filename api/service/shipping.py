"""Archives of users' code, HOME/packages/SHA256.zip: taken from clients, or packed here."""

import asyncio
import hashlib
import os
import uuid
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from cluster.errors import PackageRefused
from cluster.packages import pack
from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import Problem, SpecError

_CHUNK = 1 << 20


def archive(packages: Path, sha256: str) -> Path:
    return packages / f"{sha256}.zip"


def check_uploaded(packages: Path, sha256: str) -> None:
    """Raises SpecError."""
    if not archive(packages, sha256).is_file():
        message = f"no package {sha256} was uploaded; PUT it to /api/v1/packages/{sha256} first"
        raise SpecError([Problem("code.working_dir", message)])


def pack_folder(folder: Path, exclude: Sequence[str], packages: Path) -> str:
    """Puts a folder of this machine among the packages; returns its SHA-256. Blocks.

    Raises SpecError for a folder that cannot be shipped, StorageError.
    """
    try:
        packed = pack(folder, exclude)
    except PackageRefused as error:
        raise SpecError([Problem("code.working_dir", error.message)], hint=error.hint) from error
    _keep(packed.content, archive(packages, packed.sha256), packages)
    return packed.sha256


async def receive(chunks: AsyncIterator[bytes], sha256: str, packages: Path) -> bool:
    """Keeps an archive as it comes in; False where it was there already. Raises SpecError, StorageError."""
    target = archive(packages, sha256)
    known = target.is_file()
    aside = packages / f".{sha256}.{uuid.uuid4().hex}"
    digest = hashlib.sha256()
    try:
        with storage_errors("write", target):
            packages.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                async for chunk in _gathered(chunks):
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_sync, file.fileno())
        await asyncio.to_thread(_check_archive, aside, digest.hexdigest(), sha256)
        with storage_errors("write", target):
            aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return not known


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """In pieces that are worth a thread's time."""
    piece = bytearray()
    async for chunk in chunks:
        piece += chunk
        if len(piece) >= _CHUNK:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _check_archive(path: Path, digest: str, expected: str) -> None:
    if digest != expected:
        raise SpecError([Problem("", f"expected content of SHA-256 {expected}, got {digest}")])
    if not zipfile.is_zipfile(path):
        raise SpecError([Problem("", "expected a zip archive, got something else")])


def _keep(content: bytes, target: Path, packages: Path) -> None:
    if target.is_file():
        return
    aside = packages / f".{target.stem}.{uuid.uuid4().hex}"
    with storage_errors("write", target):
        packages.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                _sync(file.fileno())
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
