"""Where checkpoints lie: a folder that all nodes see, or an object store.

Names are relative to the place, with `/` on every platform; the empty name is the place itself. Names that
begin with a dot are files in the making and are not listed.
"""

import contextlib
import errno
import mmap
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from orchestrator.checkpoints.direct_file import DirectFile
from orchestrator.checkpoints.remote import opened, remote_errors, shown
from orchestrator.domain.disk import storage_errors, sync_path
from orchestrator.domain.spec_parts import joined, split_scheme

_FLAT: Final = frozenset({"s3", "gcs", "abfs"})
"""File systems without folders: what is written under a name needs none to be made before."""


class Sink(Protocol):
    def write(self, content: bytes | memoryview, /) -> object: ...


class Place(Protocol):
    """Raises StorageError, one sentence, where the storage is in trouble; FileNotFoundError where what is to
    be read is not there."""

    def names(self, folder: str) -> list[str]:
        """Files and folders that lie in it directly, in order; none where it is absent."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none."""

    def read(self, name: str) -> bytes: ...

    def open_read(self, name: str) -> AbstractContextManager[memoryview]:
        """The whole file, read-only: mapped where it is local, fetched where it is not."""

    def write(self, name: str, content: bytes) -> None:
        """Whole or not at all, and durable when this returns. Replaces what is there."""

    def open_write(self, name: str) -> AbstractContextManager[Sink]:
        """The same piece by piece: there once this was left, and not where it was left by an error."""

    def remove(self, name: str) -> None:
        """A file, or a folder with all in it; what is absent is fine."""

    def describe(self, name: str) -> str:
        """Path or URI for a message; without credentials."""


def place_of(location: str | Path) -> Place:
    """A path, plain or as `file://`, or a URI that pyarrow or fsspec knows. Touches nothing."""
    scheme, path = split_scheme(str(location))
    return LocalPlace(Path(path).expanduser()) if scheme == "file" else RemotePlace(str(location))


def check_writable(place: Place) -> None:
    """Writes a small file and removes it. Raises StorageError where that fails."""
    probe = f".probe-{uuid.uuid4().hex}"
    place.write(probe, b"may be removed")
    place.remove(probe)


class LocalPlace:
    """A folder, made when something is first written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self, folder: str) -> list[str]:
        path = self.folder / folder
        with _errors("list", path):
            try:
                found = os.listdir(path)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(name for name in found if not name.startswith("."))

    def size(self, name: str) -> int | None:
        path = self.folder / name
        with _errors("read", path):
            try:
                return path.stat().st_size if path.is_file() else None
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read(self, name: str) -> bytes:
        with self._reading(name) as file:
            return file.read()

    @contextlib.contextmanager
    def open_read(self, name: str) -> Iterator[memoryview]:
        with self._reading(name) as file:
            # Nothing can be mapped of a file with nothing in it.
            empty = os.fstat(file.fileno()).st_size == 0
            content = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if isinstance(content, mmap.mmap):
                content.madvise(mmap.MADV_WILLNEED)  # all of it will be read, from beginning to end
        view = memoryview(content)
        try:
            yield view
        finally:
            # Who still holds a piece of it keeps the map alive.
            with contextlib.suppress(BufferError):
                view.release()
                if isinstance(content, mmap.mmap):
                    content.close()

    def write(self, name: str, content: bytes) -> None:
        with self.open_write(name) as sink:
            sink.write(content)

    @contextlib.contextmanager
    def open_write(self, name: str) -> Iterator[Sink]:
        path = self.folder / name
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with _errors("write", path):
            _make_folder(path.parent)
            file = DirectFile(aside)
        try:
            yield _LocalSink(file, path)
            with _errors("write", path):
                file.close()
                aside.replace(path)
                sync_path(path.parent)
        except BaseException:
            file.abandon()
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        path = self.folder / name
        with _errors("remove", path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            sync_path(path.parent)

    def describe(self, name: str) -> str:
        return str(self.folder / name)

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[BinaryIO]:
        path = self.folder / name
        with _errors("read", path):
            try:
                file = path.open("rb")
            except (FileNotFoundError, NotADirectoryError):
                file = None
        if file is None:
            raise FileNotFoundError(2, "No such file", str(path))
        with file, _errors("read", path):
            yield file


class _LocalSink:
    def __init__(self, file: DirectFile, path: Path) -> None:
        self._file = file
        self._path = path

    def write(self, content: bytes | memoryview, /) -> None:
        with _errors("write", self._path):
            self._file.write(content)


def _errors(action: str, path: Path) -> AbstractContextManager[None]:
    """Checkpoints of a run directory can be put elsewhere by the same setting."""
    return storage_errors(action, path, setting="checkpoint.location")


def _make_folder(folder: Path) -> None:
    """With all above it, each of them durable."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error
        sync_path(folder.parent)


class RemotePlace:
    """A prefix of an object store, or a folder of any other file system of pyarrow or fsspec.

    Nothing is opened before it is used. It pickles, and is opened again on the other side.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __reduce__(self) -> tuple[type["RemotePlace"], tuple[str]]:
        return RemotePlace, (self.uri,)

    def names(self, folder: str) -> list[str]:
        with self._errors("list", folder):
            found = [info.base_name for info in self._infos(folder)]
        return sorted(name for name in found if name and not name.startswith("."))

    def size(self, name: str) -> int | None:
        with self._errors("read", name):
            info = self._system.get_file_info(self._path(name))
            return None if info.size is None or not info.is_file else int(info.size)

    def read(self, name: str) -> bytes:
        with self.open_read(name) as content:
            return bytes(content)

    @contextlib.contextmanager
    def open_read(self, name: str) -> Iterator[memoryview]:
        with self._errors("read", name), self._system.open_input_stream(self._path(name)) as stream:
            content = stream.read_buffer()
        yield memoryview(content)

    def write(self, name: str, content: bytes) -> None:
        with self.open_write(name) as sink:
            sink.write(content)

    @contextlib.contextmanager
    def open_write(self, name: str) -> Iterator[Sink]:
        with self._errors("write", name):
            self._make_folder_of(name)
            stream = self._system.open_output_stream(self._path(name))
        try:
            yield _RemoteSink(stream, self, name)
            with self._errors("write", name):
                stream.close()
        except BaseException:
            # pyarrow cannot abandon an upload: what is closed too early is there for a moment.
            with contextlib.suppress(Exception):
                stream.close()
            with contextlib.suppress(Exception):
                self.remove(name)
            raise

    def remove(self, name: str) -> None:
        path = self._path(name)
        with self._errors("remove", name), contextlib.suppress(FileNotFoundError):
            info = self._system.get_file_info(path)
            if info.is_file:
                self._system.delete_file(path)
            else:
                self._system.delete_dir(path)

    def describe(self, name: str) -> str:
        return shown(joined(self.uri, name) if name else self.uri)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return opened(self.uri)

    @property
    def _system(self) -> Any:
        return self._opened[0]

    def _path(self, name: str) -> str:
        root = self._opened[1]
        return f"{root}/{name}" if name else root

    def _infos(self, folder: str) -> list[Any]:
        from pyarrow.fs import FileSelector

        found: list[Any] = self._system.get_file_info(FileSelector(self._path(folder), allow_not_found=True))
        return found

    def _make_folder_of(self, name: str) -> None:
        if self._system.type_name not in _FLAT:
            self._system.create_dir(self._path(name).rpartition("/")[0], recursive=True)

    def _errors(self, action: str, name: str) -> AbstractContextManager[None]:
        return remote_errors(action, self.describe(name))


class _RemoteSink:
    def __init__(self, stream: Any, place: RemotePlace, name: str) -> None:
        self._stream = stream
        self._place = place
        self._name = name

    def write(self, content: bytes | memoryview, /) -> None:
        with remote_errors("write", self._place.describe(self._name)):
            self._stream.write(content)
