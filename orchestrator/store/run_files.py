"""Run directories on a disk that service and training share."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.domain.disk import storage_errors
from orchestrator.domain.journal import JournalReader
from orchestrator.domain.node_marks import NO_NODES, NodeOrders
from orchestrator.domain.orders import orders_of
from orchestrator.domain.run_directory import RunDirectory, RunState
from orchestrator.domain.runs import Run
from orchestrator.ports.run_files import News

_MOST_EVENTS: Final = 1000
"""At once: they go into one transaction."""
_MOST_FOLLOWED: Final = 1000
"""Of more runs the one that was asked for first is forgotten: it costs a look at its whole journal, once."""


@dataclass
class _Followed:
    """What was read of a run last. Asking where nothing changed costs three looks at the folder."""

    directory: RunDirectory
    journal: JournalReader
    stamp: tuple[int, int, int] | None = None
    state: RunState | None = None

    def newest_state(self) -> RunState | None:
        stamp = _stamp(self.directory.status_path)
        if stamp is None:
            return None
        if stamp != self.stamp:
            self.state = self.directory.read_status()
            # Taken before the reading: a status that is replaced meanwhile is read once more.
            self.stamp = stamp
        return self.state


class RunFolders:
    """Implements orchestrator.ports.run_files.RunFiles."""

    def __init__(self) -> None:
        self._followed: dict[str, _Followed] = {}

    def begin(self, run: Run) -> None:
        """Raises RunExists where the directory is of another run, and StorageError."""
        RunDirectory.begin(Path(run.storage), run.spec, run.attempt, owner=run.id)

    def order(self, run: Run, nodes: NodeOrders = NO_NODES) -> None:
        orders = orders_of(run, nodes)
        directory = _directory(run)
        if directory.read_orders() != orders:
            directory.write_orders(orders)

    def beat(self, run: Run) -> None:
        _directory(run).beat()

    def news(self, run: Run) -> News:
        followed = self._followed.get(run.id) or self._follow(run)
        state = followed.newest_state()
        if state is not None and state.attempt < run.attempt:
            state = None
        # The state was read first, and whoever ends an attempt writes the event before the status: with the
        # end of an attempt come all its events, however many.
        over = state is not None and state.reason is not None
        return News(state, followed.journal.read(run.outbox_seq, sys.maxsize if over else _MOST_EVENTS))

    def _follow(self, run: Run) -> _Followed:
        directory = _directory(run)
        followed = self._followed[run.id] = _Followed(directory, JournalReader(directory.outbox, "events"))
        if len(self._followed) > _MOST_FOLLOWED:
            self._followed.pop(next(iter(self._followed)), None)
        return followed


def _directory(run: Run) -> RunDirectory:
    return RunDirectory(Path(run.storage) / run.name)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    with storage_errors("read", path):
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
    return found.st_ino, found.st_size, found.st_mtime_ns
