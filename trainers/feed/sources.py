"""Which files a source is made of: found, checked and put in order before anything is read.

The order is by relative name and no other fact of the machine enters, so two machines with the same files
have the same rows.
"""

import glob
import os
import re
import stat
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Final

import pyarrow.fs as pafs

from orchestrator.domain.errors import DataError
from orchestrator.domain.spec_parts import split_scheme
from trainers.feed.absence import absence
from trainers.feed.recipe import Recipe

STDLIB: Final = "dataset://stdlib"
_NOT_THE_LIBRARY: Final = frozenset({"__pycache__", "site-packages", "dist-packages"})
_ENDINGS: Final = MappingProxyType(
    {
        "jsonl": (".jsonl", ".ndjson", ".json"),
        "csv": (".csv",),
        "parquet": (".parquet", ".pq"),
        "images": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    }
)
"""Which files of a folder are meant; of a folder of text, all."""


@dataclass(frozen=True)
class SourceFile:
    """One file, not read yet."""

    name: str
    """Path relative to the root of the source, with `/` on every platform."""
    path: str
    """Absolute, or a path in the file system of the source."""
    size: int
    """Bytes, more than 0."""
    mtime_ns: int
    inode: int
    """0 where the file system has none."""


@dataclass(frozen=True)
class SkippedPart:
    """A file or row that was left out under `on_bad_row: skip`."""

    name: str
    """Of the file."""
    reason: str
    """Such as `is empty` or `row 17 has 3 fields, expected 4`."""


@dataclass(frozen=True)
class Listing:
    """The files of a source, by name."""

    files: tuple[SourceFile, ...]
    skipped: tuple[SkippedPart, ...]


def list_files(recipe: Recipe) -> Listing:
    """Finds the files of `recipe.source`, without reading what is in them.

    `dataset://stdlib` is the interpreter's own library: all `.py` files but the empty ones. A folder stands
    for the files in it at any depth that end as the format's files do, hidden ones and links to folders left
    out. A relative path counts from the current folder. Other schemes are file systems of pyarrow or fsspec.

    Raises:
        DataError: nothing is there; one file is there twice; a file is bad and `on_bad_row` is `fail`.
    """
    files: list[SourceFile] = []
    skipped: list[SkippedPart] = []
    for found in sorted(_found(recipe), key=lambda found: found.name):
        if isinstance(found, SourceFile):
            files.append(found)
        elif recipe.on_bad_row == "skip":
            skipped.append(found)
        else:
            raise DataError(
                f"{found.name} of data.source {recipe.source} {found.reason}",
                hint="Remove it, or set data.on_bad_row to skip such files.",
            )
    if not files:
        endings = _ENDINGS.get(recipe.format)
        meant = (
            f"With data.format {recipe.format}, files of a folder end in {' or '.join(endings)}."
            if endings
            else ""
        )
        raise DataError(f"data.source {recipe.source} holds no file with anything in it", hint=meant)
    return Listing(tuple(files), tuple(skipped))


@lru_cache(maxsize=8)
def filesystem_of(source: str) -> tuple[Any, str]:
    """(pyarrow file system, path in it) of a source.

    Raises DataError where the scheme is unknown or its package is missing.
    """
    scheme, rest = split_scheme(source)
    if scheme in ("file", "dataset"):
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(rest))
    try:
        # pyarrow would take what follows the `?` of a glob for options.
        system, path = pafs.FileSystem.from_uri(source)
        return system, path
    except (OSError, ValueError, NotImplementedError):
        pass
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(source)
    except (ImportError, ValueError, OSError) as error:
        raise DataError(f"cannot open data.source {source}: {error}") from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(system)), path


def absolute(source: str) -> str:
    """A source that means the same in every folder."""
    scheme, rest = split_scheme(source)
    return os.path.abspath(os.path.expanduser(rest)) if scheme == "file" else source


def look_at(system: Any, path: str) -> SourceFile:
    """A file as it is now, its name left empty; raises OSError where it is gone."""
    if isinstance(system, pafs.LocalFileSystem):
        status = os.stat(path)
        return SourceFile("", path, status.st_size, status.st_mtime_ns, status.st_ino)
    info = system.get_file_info(path)
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(2, "No such file", path)
    return SourceFile("", path, info.size or 0, info.mtime_ns or 0, 0)


def _found(recipe: Recipe) -> Iterator[SourceFile | SkippedPart]:
    source = recipe.source
    if split_scheme(source)[0] not in ("file", "dataset"):
        yield from _remote(recipe)
        return
    if source == STDLIB:
        root = Path(sysconfig.get_path("stdlib"))
        paths = [path for path in _library(root) if path.is_file() and path.stat().st_size > 0]
    else:
        root, paths = _find(split_scheme(source)[1], _wanted(recipe))
        _refuse_duplicates(paths)
    for path in paths:
        yield _check(path.relative_to(root).as_posix(), path)


def _library(root: Path) -> Iterator[Path]:
    return (path for path in _walk(root, leave_out=_NOT_THE_LIBRARY) if path.suffix == ".py")


def _wanted(recipe: Recipe) -> Callable[[str], bool]:
    endings = _ENDINGS.get(recipe.format)
    return lambda name: endings is None or name.lower().endswith(endings)


def _find(source: str, wanted: Callable[[str], bool]) -> tuple[Path, list[Path]]:
    """The root that names are relative to, and the files of a path or glob."""
    path = Path(os.path.abspath(os.path.expanduser(source)))
    if path.is_dir():
        return path, [found for found in _walk(path) if wanted(found.name)]
    if os.path.lexists(path):
        return path.parent, [path]
    if (why := absence(source)) is not None:
        raise DataError(f"data.source {why}")
    found = [Path(match) for match in glob.glob(str(path), recursive=True)]
    found = [match for match in found if not match.is_dir()]
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


def _check(name: str, path: Path) -> SourceFile | SkippedPart:
    try:
        status = path.stat()
    except OSError as error:
        return SkippedPart(name, f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return SkippedPart(name, "is not a regular file")
    if not os.access(path, os.R_OK):
        return SkippedPart(name, "cannot be read: Permission denied")
    if status.st_size == 0:
        return SkippedPart(name, "is empty")
    return SourceFile(name, str(path), status.st_size, status.st_mtime_ns, status.st_ino)


def _remote(recipe: Recipe) -> Iterator[SourceFile | SkippedPart]:
    base, pattern = _split_glob(recipe.source)
    try:
        system, root = filesystem_of(base)
        root = root.rstrip("/")
        info = system.get_file_info(root)
        if info.type == pafs.FileType.File:
            infos, root = [info], str(PurePosixPath(root).parent)
        else:
            infos = system.get_file_info(pafs.FileSelector(root, recursive=True))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot list data.source {recipe.source}: {error}") from error
    wanted = _wanted(recipe) if pattern is None else re.compile(_regex(pattern)).fullmatch
    for found in infos:
        name = found.path.removeprefix(root).lstrip("/")
        hidden = pattern is None and any(part.startswith(".") for part in name.split("/"))
        if found.type != pafs.FileType.File or hidden or not (len(infos) == 1 or wanted(name)):
            continue
        if not found.size:
            yield SkippedPart(name, "is empty")
        else:
            yield SourceFile(name, found.path, found.size, found.mtime_ns or 0, 0)


def _split_glob(source: str) -> tuple[str, str | None]:
    """(the folder before the first wild part, the pattern from there on); no pattern without wildcards.

    What follows a `?` in a URI are options, so `?` is no wildcard here.
    """
    location, mark, options = source.partition("?")
    parts = location.split("/")
    first_wild = next((number for number, part in enumerate(parts) if re.search(r"[*\[]", part)), None)
    if first_wild is None:
        return source, None
    return "/".join(parts[:first_wild]) + mark + options, "/".join(parts[first_wild:])


def _regex(pattern: str) -> str:
    pieces = re.split(r"(\*\*/|\*\*|\*|\[[^\]]*\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return "".join(
        known.get(piece) or (piece if piece.startswith("[") else re.escape(piece)) for piece in pieces
    )
