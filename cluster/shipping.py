"""Our own code as Ray ships it to drivers and workers: one archive, made once per process.

Shipped even where the head is on this machine and could be told where our packages lie. That costs nothing
that can be measured (submit to the first line of a driver on a warm head, two cores: 0.95 s with the archive,
0.97 s with PYTHONPATH in its place, 1.00 s with neither), it is right for nodes elsewhere, and a run keeps
the code it began with when Tumbler is upgraded beneath it.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from cluster.packages import archive_of

SHIPPED: Final = ("orchestrator", "trainers")


@cache
def our_archive() -> bytes:
    """The same bytes for the same files."""
    root = Path(__file__).resolve().parent.parent
    return archive_of(
        (path.relative_to(root).as_posix(), path)
        for name in SHIPPED
        for path in sorted((root / name).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    )


def ray_name(content: bytes) -> str:
    """What Ray calls a package of this content."""
    return f"_ray_pkg_{hashlib.sha1(content, usedforsecurity=False).hexdigest()}.zip"
