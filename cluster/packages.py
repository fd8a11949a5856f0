"""A user's code as one archive, the same bytes for the same files, named by their SHA-256."""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from cluster.errors import PackageRefused
from orchestrator.domain.disk import storage_errors

LARGEST_PACKAGE: Final = 200 << 20
"""Bytes, of the files before they are compressed; code is small, and data belong elsewhere."""
OUR_PACKAGES: Final = ("api", "cluster", "orchestrator", "trainers")
_NEVER: Final = (".git/", "__pycache__/", "*.pyc", ".venv/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/")
_SAME_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip archive knows."""


@dataclass(frozen=True)
class Package:
    sha256: str
    content: bytes
    """A zip archive."""

    @property
    def num_bytes(self) -> int:
        return len(self.content)


def pack(folder: Path, exclude: Sequence[str] = ()) -> Package:
    """Archive a folder, without what `exclude` names (patterns as in .gitignore), caches and .git.

    Links within the folder are followed. Raises PackageRefused, in one sentence, for a folder that is too
    large, has a folder named like one of our packages, or links out of itself.
    """
    if not folder.is_dir():
        raise PackageRefused(f"{folder} is not a folder")
    root = folder.resolve()
    _check_names(folder, root)
    files = list(_files(root, GitIgnoreSpec.from_lines([*_NEVER, *exclude])))
    num_bytes = sum(path.stat().st_size for _, path in files)
    if num_bytes > LARGEST_PACKAGE:
        largest, path = max((path.stat().st_size, name) for name, path in files)
        raise PackageRefused(
            f"{folder} holds {num_bytes >> 20} MiB and at most {LARGEST_PACKAGE >> 20} MiB can be shipped; "
            f"the largest file is {path} with {largest >> 20} MiB",
            hint="name what is not needed in code.exclude, or give code.working_dir a smaller folder",
        )
    content = archive_of(files)
    return Package(hashlib.sha256(content).hexdigest(), content)


def archive_of(files: Iterable[tuple[str, Path]]) -> bytes:
    """A zip archive of (name in it, file), without times and owners. Raises StorageError."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in files:
            entry = zipfile.ZipInfo(name, _SAME_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with storage_errors("read", path):
                runnable = path.stat().st_mode & 0o100
                entry.external_attr = (0o100755 if runnable else 0o100644) << 16
                archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def _check_names(folder: Path, root: Path) -> None:
    """Where ours come first on the import path, theirs could never be imported."""
    for name in OUR_PACKAGES:
        kind = "folder" if any((root / name).glob("*.py")) else "file"
        if kind == "folder" or (root / f"{name}.py").is_file():
            called = name if kind == "folder" else f"{name}.py"
            raise PackageRefused(
                f"{folder} has a {kind} named '{called}', the name of a package of Tumbler; rename it"
            )


def _files(root: Path, excluded: GitIgnoreSpec) -> Iterator[tuple[str, Path]]:
    """(name in the archive, file), sorted by name."""
    found: list[tuple[str, Path]] = []
    for parent, folders, names in os.walk(root, followlinks=True):
        here = Path(parent)
        _check_inside(here, root)
        relative = here.relative_to(root)
        folders[:] = sorted(
            name for name in folders if not excluded.match_file((relative / name).as_posix() + "/")
        )
        for name in folders:
            _check_no_loop(here / name, root)
        for name in names:
            path = here / name
            inside = (relative / name).as_posix()
            if excluded.match_file(inside) or not path.is_file():
                continue
            _check_inside(path, root)
            found.append((inside, path))
    yield from sorted(found)


def _check_inside(path: Path, root: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise PackageRefused(
            f"{path} links to {path.resolve()}, which is outside the folder",
            hint="copy what is needed into the folder, or name the link in code.exclude",
        )


def _check_no_loop(folder: Path, root: Path) -> None:
    if not folder.is_symlink():
        return
    target = folder.resolve()
    above = [parent for parent in folder.parents if parent.is_relative_to(root)]
    if any(parent.resolve().is_relative_to(target) for parent in above):
        raise PackageRefused(
            f"{folder} links to a folder that it lies in", hint="name the link in code.exclude"
        )
