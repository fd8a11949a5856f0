"""Tells the open streams of what changed, inside this process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Changes:
    """What happened since its reader looked last, however often."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Is set whenever there is something; the reader clears it."""
    runs: set[str] = field(default_factory=set)
    cluster: bool = False

    def take(self) -> tuple[set[str], bool]:
        """(ids of runs, whether nodes or queues changed); from here on it is empty again."""
        taken = self.runs, self.cluster
        self.news.clear()
        self.runs, self.cluster = set(), False
        return taken


class Bulletin:
    """For one event loop. A reader that is slow is told once, however much happened meanwhile."""

    def __init__(self) -> None:
        self._readers: dict[str, set[asyncio.Event]] = {}
        self._of_all: list[Changes] = []
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

    @contextmanager
    def reader_of_all(self) -> Iterator[Changes]:
        """Of every run, and of nodes and queues."""
        changes = Changes()
        self._of_all.append(changes)
        try:
            yield changes
        finally:
            self._of_all = [other for other in self._of_all if other is not changes]

    def changed(self, run_id: str) -> None:
        for news in self._readers.get(run_id, ()):
            news.set()
        for changes in self._of_all:
            changes.runs.add(run_id)
            changes.news.set()

    def cluster_changed(self) -> None:
        """What was said of its nodes, or of a queue."""
        for changes in self._of_all:
            changes.cluster = True
            changes.news.set()

    def close(self) -> None:
        self._closed = True
        for readers in self._readers.values():
            for news in readers:
                news.set()
        for changes in self._of_all:
            changes.news.set()
