"""Goodput of the runs of the service: each read once, then only what is new of it."""

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock
from typing import Final

from api.service.representations import run_folder
from orchestrator.domain.errors import StorageError
from orchestrator.domain.goodput import ClusterGoodput, GoodputLedger, RunGoodput, cluster_goodput
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.runs import Run

_MOST_FOLLOWED: Final = 1000
_MOST_OVER: Final = 20_000
"""What is kept of a run that is over is a dozen numbers."""


class Goodputs:
    """All methods block, and may be called from several threads."""

    def __init__(self) -> None:
        self._followed: OrderedDict[str, GoodputLedger] = OrderedDict()
        self._over: OrderedDict[tuple[str, int], RunGoodput] = OrderedDict()
        self._lock = Lock()

    def of(self, run: Run) -> RunGoodput | None:
        """None while it has no run directory. Raises StorageError."""
        with self._lock:
            known = self._over.get((run.id, run.attempt))
            return known or self._read(run)

    def of_readable(self, runs: Iterable[Run]) -> dict[str, RunGoodput]:
        """By id, those of the runs whose records can be read now."""
        found = {}
        for run in runs:
            with suppress(StorageError):
                report = self.of(run)
                if report is not None:
                    found[run.id] = report
        return found

    def of_cluster(self, runs: Iterable[Run]) -> ClusterGoodput:
        found, left_out = [], []
        for run in runs:
            try:
                report = self.of(run)
            except StorageError:
                left_out.append(run.name)
            else:
                found += [(run.queue, report)] if report is not None else []
        return cluster_goodput(found, left_out)

    def _read(self, run: Run) -> RunGoodput | None:
        directory = RunDirectory(run_folder(run))
        if not directory.status_path.is_file():
            return None
        ledger = self._followed.pop(run.id, None) or GoodputLedger(directory)
        report = ledger.read()
        if run.status.terminal and report.over:
            self._over[run.id, run.attempt] = report
        else:
            self._followed[run.id] = ledger
        for kept, most in ((self._followed, _MOST_FOLLOWED), (self._over, _MOST_OVER)):
            if len(kept) > most:
                kept.popitem(last=False)
        return report
