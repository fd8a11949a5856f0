"""What the writer processes of a node hold of a run: snapshots in memory, which outlive the workers that made
them.

Each process says what it holds in one small file of a folder that belongs to the run. Imports no torch.
"""

import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.checkpoints.manifest import xxh3_of

HELD: Final = 2
"""Snapshots that each process holds: the newest may not be whole yet on another member."""


@dataclass(frozen=True)
class Piece:
    """Some logical shards of the state."""

    first: int
    last: int
    """Half-open."""
    start: int
    """Place in the memory, in bytes; so is the size."""
    size: int
    xxh3: str = ""


@dataclass(frozen=True)
class Held:
    """The pieces of one step that one worker copied."""

    fingerprint: str
    """Of what decides the result's bits."""
    attempt: int
    generation: int
    step: int
    num_shards: int
    slot: int
    memory: str
    """Path under which other processes of this user open it."""
    name: str
    """Of the memory, which a process that came later under the same id has not."""
    structure: str
    """As `structure.as_json` makes it."""
    pieces: tuple[Piece, ...]

    @classmethod
    def load(cls, values: dict[str, Any]) -> "Held":
        """Raises TypeError or KeyError for what is none."""
        return cls(**{**values, "pieces": tuple(Piece(**piece) for piece in values["pieces"])})


@dataclass(frozen=True)
class Holding:
    """That the snapshots of a run are held, and how they are known."""

    run_folder: Path
    fingerprint: str

    @property
    def folder(self) -> Path:
        return folder_of(self.run_folder)

    def request(self, held: Held) -> dict[str, Any]:
        """For the writer process."""
        return {"held": asdict(held), "folder": str(self.folder), "run_folder": str(self.run_folder)}

    def has_room(self, num_bytes: int) -> bool:
        """Whether two copies of so many bytes take less than half of the memory that is free."""
        return 2 * num_bytes <= _available() / 2


def folder_of(run_folder: Path) -> Path:
    """Where the writer processes of this node say what they hold of a run."""
    run = hashlib.sha256(str(run_folder.absolute()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"tumbler-{os.getuid()}" / f"snapshots-{run}"


def open_folder(folder: Path) -> None:
    """Make it, for this user alone. Raises PermissionError where another one owns it."""
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder.parent} belongs to another user")


def write_index(path: Path, held: Sequence[Held]) -> None:
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps([asdict(one) for one in held]))
    aside.replace(path)


def held_in(folder: Path) -> list[Held]:
    """What living processes hold; the file of one that is gone is removed."""
    found: list[Held] = []
    with suppress(OSError):
        if folder.parent.stat().st_uid != os.getuid():
            return []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            theirs = [Held.load(values) for values in json.loads(path.read_text())]
            living = [held for held in theirs if is_there(held)]
            found += living
            if not living:
                path.unlink(missing_ok=True)
    return found


def is_there(held: Held) -> bool:
    """Whether its memory is still the one that was meant."""
    with suppress(OSError):
        return os.readlink(held.memory).startswith(f"/memfd:{held.name}")
    return False


@contextmanager
def opened(memory: str) -> Iterator[memoryview]:
    """The memory, by its path; what is written to it is not seen by others. Raises OSError where it is
    gone."""
    file = os.open(memory, os.O_RDONLY)
    try:
        mapped = mmap.mmap(file, 0, access=mmap.ACCESS_COPY)
    finally:
        os.close(file)
    whole = memoryview(mapped)
    try:
        yield whole
    finally:
        with suppress(BufferError):  # an error on its way out may still look at it
            whole.release()
            mapped.close()


def digest_of(whole: memoryview, piece: Piece) -> str:
    """XXH3-128 of what lies there, in hex."""
    with whole[piece.start : piece.start + piece.size] as content:
        return xxh3_of(content)


def _available() -> float:
    """Bytes of memory that this machine could hand out; no limit where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return 1024.0 * int(amount.split()[0])
    return float("inf")
