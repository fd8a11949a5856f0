"""Damage to one committed checkpoint in a folder; which and where is decided by a seed."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.checkpoints.catalog import Committed

_BLOCK: Final = 256
"""Bytes that a disk loses at once: so few that a file of a test has several."""

Damage = Callable[[Path, Committed, random.Random], list[Path]]
"""Done to a checkpoint in a folder of them; returns the files that are not as they were written."""


def flipped(folder: Path, victim: Committed, rng: random.Random) -> list[Path]:
    """One bit of any of its files is another."""
    path = rng.choice(files_of(folder, victim))
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return [path]


def truncated(folder: Path, victim: Committed, rng: random.Random) -> list[Path]:
    path = rng.choice(parts_of(folder, victim))
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])
    return [path]


def removed(folder: Path, victim: Committed, rng: random.Random) -> list[Path]:
    path = rng.choice(parts_of(folder, victim))
    path.unlink()
    return [path]


def swapped(folder: Path, victim: Committed, rng: random.Random) -> list[Path]:
    """Two of its parts have each other's content."""
    one, other = rng.sample(parts_of(folder, victim), 2)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    return [one, other]


def stale(folder: Path, victim: Committed, rng: random.Random) -> list[Path]:
    """A part is that of the step before."""
    path = rng.choice(parts_of(folder, victim))
    before = Committed(victim.step - 1, victim.attempt, victim.generation)
    path.write_bytes((folder / before.name / path.parent.name / path.name).read_bytes())
    return [path]


def cut_manifest(folder: Path, victim: Committed, rng: random.Random) -> list[Path]:
    path = folder / victim.manifest
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])
    return [path]


def zeroed(folder: Path, victim: Committed, rng: random.Random) -> list[Path]:
    """A block of any of its files was never written."""
    path = rng.choice(files_of(folder, victim))
    content = path.read_bytes()
    blocks = [start for start in range(0, len(content), _BLOCK) if any(content[start : start + _BLOCK])]
    start = rng.choice(blocks)
    length = len(content[start : start + _BLOCK])
    path.write_bytes(content[:start] + bytes(length) + content[start + length :])
    return [path]


DAMAGES: Final[Mapping[str, Damage]] = MappingProxyType(
    {
        damage.__name__: damage
        for damage in (flipped, truncated, removed, swapped, stale, cut_manifest, zeroed)
    }
)


def parts_of(folder: Path, victim: Committed) -> list[Path]:
    """All its files but the manifest, in order."""
    return sorted((folder / victim.name).glob("a*/*"))


def files_of(folder: Path, victim: Committed) -> list[Path]:
    return [*parts_of(folder, victim), folder / victim.manifest]
