"""The memory of a worker as its writer process sees it. Imports no torch.

It is mapped once and not for each use: to look up thousands of pages anew takes as long as to read them.
"""

import mmap
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class _Mapped:
    file: int
    map: mmap.mmap
    view: memoryview


class Memories:
    """Known by their names. They live on here when the worker is gone, with what it wrote last."""

    def __init__(self) -> None:
        self._mapped: dict[str, _Mapped] = {}

    @property
    def names(self) -> Collection[str]:
        return self._mapped.keys()

    def view(self, name: str, path: str) -> memoryview:
        """All of it; `path` is where the worker has it. Raises OSError where it is gone."""
        known = self._mapped.get(name)
        if known is None:
            file = os.open(path, os.O_RDONLY)
            mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
            known = self._mapped[name] = _Mapped(file, mapped, memoryview(mapped))
        return known.view

    def path(self, name: str) -> str:
        """Under which others open it as long as this process lives."""
        return f"/proc/{os.getpid()}/fd/{self._mapped[name].file}"

    def let_go(self, name: str) -> None:
        gone = self._mapped.pop(name)
        os.close(gone.file)
        with suppress(BufferError):  # an error on its way out may still look at it
            gone.view.release()
            gone.map.close()
