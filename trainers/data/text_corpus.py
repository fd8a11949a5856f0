"""Which files a text corpus is made of: found, checked and put in order before anything starts.

The order is by relative path and no other fact of the machine enters, so two machines with the same files
have the same corpus. Nothing is decoded: to the byte tokenizer a file is bad only if it cannot be read or is
empty.
"""

import glob
import os
import stat
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.errors import DataError
from orchestrator.domain.spec_training import DataSpec

_NOT_THE_LIBRARY = frozenset({"__pycache__", "site-packages", "dist-packages"})


@dataclass(frozen=True)
class CorpusFile:
    """One document."""

    name: str
    """Path relative to the root of the source, with `/` on every platform."""
    path: Path
    size: int
    """Bytes, more than 0."""


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left out under `on_bad_row: skip`."""

    name: str
    reason: str
    """Such as `is empty`."""


@dataclass(frozen=True)
class Corpus:
    """All documents of a source, by name."""

    source: str
    """As in the spec."""
    tokenizer: str
    files: tuple[CorpusFile, ...]
    skipped: tuple[SkippedFile, ...] = ()

    @property
    def num_bytes(self) -> int:
        return sum(file.size for file in self.files)


def resolve(data: DataSpec) -> Corpus:
    """Finds the files of `data.source`, without reading what is in them.

    `dataset://stdlib` is the interpreter's own library: all `.py` files but the empty ones. A folder stands
    for all files in it at any depth, hidden ones and links to folders left out. A relative path counts from
    the current folder.

    Raises:
        DataError: nothing is there; one file is there twice; a file is bad and `on_bad_row` is `fail`.
    """
    if data.dataset is not None:
        root = Path(sysconfig.get_path("stdlib"))
        paths = [path for path in _library(root) if path.is_file() and path.stat().st_size > 0]
    else:
        root, paths = _find(data.files or "")
        _refuse_duplicates(paths)
    files: list[CorpusFile] = []
    skipped: list[SkippedFile] = []
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        checked = _check(name, path)
        if isinstance(checked, CorpusFile):
            files.append(checked)
        elif data.on_bad_row == "skip":
            skipped.append(checked)
        else:
            raise DataError(
                f"{path} {checked.reason}", hint="Remove it, or set data.on_bad_row to skip such files."
            )
    if not files:
        raise DataError(f"data.source {data.source} holds no text at all")
    return Corpus(data.source, data.tokenizer, tuple(files), tuple(skipped))


def _library(root: Path) -> Iterator[Path]:
    return (path for path in _walk(root, leave_out=_NOT_THE_LIBRARY) if path.suffix == ".py")


def _find(source: str) -> tuple[Path, list[Path]]:
    """The root that names are relative to, and the files of a path or glob."""
    path = Path(os.path.abspath(os.path.expanduser(source)))
    if path.is_dir():
        return path, list(_walk(path))
    if os.path.lexists(path):
        return path.parent, [path]
    if not glob.has_magic(str(path)):
        raise DataError(f"data.source {path} does not exist")
    found = [Path(match) for match in glob.glob(str(path), recursive=True)]
    found = [match for match in found if not match.is_dir()]
    if not found:
        raise DataError(f"no file matches data.source {path}")
    first_wild = next(number for number, part in enumerate(path.parts) if glob.has_magic(part))
    return Path(*path.parts[:first_wild]), found


def _walk(root: Path, leave_out: frozenset[str] = frozenset()) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root, onerror=_refuse_folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name not in leave_out]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _refuse_folder(error: OSError) -> None:
    raise DataError(f"cannot list the folder {error.filename}: {error.strerror}") from error


def _refuse_duplicates(paths: Iterable[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in sorted(paths):
        other = seen.setdefault(os.path.realpath(path), path)
        if other != path:
            raise DataError(f"{path} and {other} are one file, which would be used twice; remove one of them")


def _check(name: str, path: Path) -> CorpusFile | SkippedFile:
    try:
        status = path.stat()
    except OSError as error:
        return SkippedFile(name, f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return SkippedFile(name, "is not a regular file")
    if not os.access(path, os.R_OK):
        return SkippedFile(name, "cannot be read: Permission denied")
    if status.st_size == 0:
        return SkippedFile(name, "is empty")
    return CorpusFile(name, path, status.st_size)
