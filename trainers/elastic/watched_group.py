"""An elastic group whose waiting shows, and that another thread can end."""

from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import Any

import torch

from trainers.elastic.group import ElasticGroup
from trainers.elastic.progress import Progress
from trainers.elastic.transport import NcclTransport

_NOBODY_SENDS = 1 << 20
"""A tag that no message has."""


class WatchedGroup(ElasticGroup):
    """Marks the time in which nothing but other members is waited for."""

    def __init__(self, *arguments: Any, progress: Progress, **options: Any):
        self._progress = progress
        super().__init__(*arguments, **options)

    def wake(self) -> None:
        """From any thread: whoever waits in this group fails at once.

        A frozen process keeps its connections open, and its peers would wait for as long as it does. A
        receive that runs into its timeout makes gloo close all connections of the group, which no call of its
        own does.
        """
        transport = self._transport
        if transport is None:
            return
        if isinstance(transport, NcclTransport):
            transport.close()
            return
        with suppress(RuntimeError, AttributeError):  # it was closed meanwhile
            transport._group.recv([torch.empty(1)], (self.rank + 1) % self.size, _NOBODY_SENDS).wait(
                timedelta(milliseconds=1)
            )

    def waiting(self) -> AbstractContextManager[None]:
        return self._progress.waiting()
