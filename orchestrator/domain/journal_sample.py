"""A few records of a long journal: its text is searched whole, which is quick, and little of it parsed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.disk import storage_errors
from orchestrator.domain.journal_lines import checked, parsed, segments_of

_BLOCK: Final = 1 << 18
_NOTE: Final = b'"kind":'


def sample_journal(folder: Path, name: str, count: int, *, all_of: str) -> list[dict[str, Any]]:
    """About `count` records at even distances and the newest one, in order; of those that have a "kind" about
    as many, each with the record before it; and every single one of the kind `all_of`.

    What is between them is not looked at. Raises StorageError where one of them is broken.
    """
    segments = segments_of(folder, name)
    with storage_errors("read", folder):
        distance = max(1, sum(path.stat().st_size for path in segments) // count)
    records = []
    for path in segments:
        number = 1
        for block in _blocks(path):
            begin = 0
            for start in sorted(_starts(block, distance, all_of)):
                number += block.count(b"\n", begin, start)
                _, text = checked(block[start : block.index(b"\n", start)], path, number)
                records.append(parsed(text))
                begin = start
            number += block.count(b"\n", begin)
    return records


def _blocks(path: Path) -> Iterator[bytes]:
    """Of whole lines."""
    rest = b""
    with storage_errors("read", path), path.open("rb") as file:
        while piece := file.read(_BLOCK):
            rest += piece
            end = rest.rfind(b"\n") + 1
            if end:
                yield rest[:end]
                rest = rest[end:]


def _starts(block: bytes, distance: int, all_of: str) -> set[int]:
    """Where the lines begin that are wanted."""
    wanted = {_line_start(block, place) for place in range(0, len(block), distance)}
    wanted.add(_line_start(block, len(block) - 1))
    notes = list(_places(block, _NOTE))
    needed = b'%b"%b"' % (_NOTE, all_of.encode())
    wanted.update(_line_start(block, place) for place in notes if block.startswith(needed, place))
    for place in notes[:: len(notes) * distance // len(block) + 1]:
        start = _line_start(block, place)
        wanted |= {start, _line_start(block, max(0, start - 1))}
    return wanted


def _line_start(block: bytes, place: int) -> int:
    """Of the line that holds the byte; its newline is part of a line."""
    return block.rfind(b"\n", 0, place) + 1


def _places(block: bytes, text: bytes) -> Iterator[int]:
    place = block.find(text)
    while place >= 0:
        yield place
        place = block.find(text, place + 1)
