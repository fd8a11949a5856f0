"""Tells the open streams of a run that it changed, inside this process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Bulletin:
    """For one event loop. A reader that is slow is told once, however much happened meanwhile."""

    def __init__(self) -> None:
        self._readers: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """The service ends: streams should too."""
        return self._closed

    @contextmanager
    def reader(self, run_id: str) -> Iterator[asyncio.Event]:
        """Is set whenever the run changed; the reader clears it."""
        news = asyncio.Event()
        self._readers.setdefault(run_id, set()).add(news)
        try:
            yield news
        finally:
            self._readers[run_id].discard(news)
            if not self._readers[run_id]:
                del self._readers[run_id]

    def changed(self, run_id: str) -> None:
        for news in self._readers.get(run_id, ()):
            news.set()

    def close(self) -> None:
        self._closed = True
        for readers in self._readers.values():
            for news in readers:
                news.set()
