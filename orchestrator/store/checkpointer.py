"""Copies SQLite's log into the database from a thread beside the writer.

Left to itself the writer does that in the middle of a commit, every thousand pages, and whoever waits for
that commit waits 20 to 30 ms longer. A passive checkpoint takes nothing from the writer but bandwidth.
"""

import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from orchestrator.store.writer import Writer

_EVERY_S: Final = 0.25


class Checkpointer:
    """Works until it is closed. What goes wrong is left to the writer, which has it on its own disk too."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self._path = path
        self._writer = writer
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="record-checkpointer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        done = 0
        while not self._over.wait(_EVERY_S):
            if self._writer.num_commits != done:
                done = self._writer.num_commits
                with suppress(sqlite3.Error):
                    self._copy_log()

    def _copy_log(self) -> None:
        # A connection of its own each time: it is quick, and a file that was replaced is noticed.
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            _, in_log, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        # While many write, the log grows behind the copy, and begins anew only when all of it was copied.
        self._writer.log_is_copied = in_log != copied
