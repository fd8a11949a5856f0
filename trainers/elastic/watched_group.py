"""An elastic group whose waiting shows, and that another thread can end."""

from contextlib import AbstractContextManager
from typing import Any

from trainers.elastic.group import ElasticGroup
from trainers.elastic.progress import Progress


class WatchedGroup(ElasticGroup):
    """Marks the time in which nothing but other members is waited for."""

    def __init__(self, *arguments: Any, progress: Progress, **options: Any):
        self._progress = progress
        super().__init__(*arguments, **options)

    def wake(self) -> None:
        """From any thread: whoever waits in this group fails at once.

        A frozen process keeps its connections open, and its peers would wait for as long as it does.
        """
        transport = self._transport
        if transport is not None:
            transport.wake()

    def waiting(self) -> AbstractContextManager[None]:
        return self._progress.waiting()
