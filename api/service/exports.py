"""An export as a tar archive.

It is made in a process of its own, so that torch and the model never are in the service. Its files are opened
and unlinked before the first is sent, so that nothing stays behind.
"""

import asyncio
import pickle
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.domain.disk import storage_errors
from orchestrator.domain.errors import CheckpointError, TumblerError
from orchestrator.domain.run_directory import RunDirectory

_ASIDE: Final = ".export-"
_OLD_S: Final = 24 * 3600.0
_CHUNK: Final = 1 << 20
_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * _BLOCK)


@dataclass(frozen=True)
class Archive:
    """Open files, to be read once."""

    files: Sequence[tuple[str, int, BinaryIO]]
    """Name, bytes, and the file."""

    @property
    def size(self) -> int:
        """Bytes of the whole archive."""
        return sum(_BLOCK + size + _padding(size) for _, size, _ in self.files) + len(_END)

    def chunks(self) -> Iterator[bytes]:
        """The archive piece by piece; closes the files."""
        with ExitStack() as stack:
            for _, _, file in self.files:
                stack.callback(file.close)
            for name, size, file in self.files:
                yield _head(name, size)
                while chunk := file.read(_CHUNK):
                    yield chunk
                yield bytes(_padding(size))
            yield _END


async def exported(run: RunDirectory, step: int) -> Archive:
    """The export of a checkpoint that was there a moment ago.

    Raises what the export raises; CheckpointError where its process dies, as for want of memory.
    """
    folder = await asyncio.to_thread(_new_folder, run)
    try:
        await _export(run, step, folder)
        return await asyncio.to_thread(_opened, folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _export(run: RunDirectory, step: int, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "api.service.export_process", str(run.path), str(step), str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if told:
        error: TumblerError = pickle.loads(told)
        raise error
    if process.returncode != 0:
        raise CheckpointError(
            f"the process that exported step {step} of run '{run.name}' ended with {process.returncode}",
            hint="it needs as much memory as the model, and the log of the service may say more",
        )


def _new_folder(run: RunDirectory) -> Path:
    """Beside the checkpoints: what can hold them has room for a part of one."""
    with storage_errors("write to", run.path):
        for left in run.path.glob(f"{_ASIDE}*"):  # by a service that was killed
            if time.time() - left.stat().st_mtime > _OLD_S:
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=_ASIDE, dir=run.path))


def _opened(folder: Path) -> Archive:
    with storage_errors("read", folder):
        paths = sorted(folder.iterdir(), key=lambda path: path.stat().st_size)
        return Archive([(path.name, path.stat().st_size, path.open("rb")) for path in paths])


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    # One block for any name that an export has; GNU's format takes files of any size.
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> int:
    return -size % _BLOCK
