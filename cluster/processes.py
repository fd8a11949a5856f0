"""Whether a process id on record is still that worker: ids are used again, and other machines have them."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.domain.events import EventKind
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory

_CLOCKS_DIFFER_S = 5.0
"""Between the clock that dates events and the one that dates processes."""


@dataclass(frozen=True)
class WorkerProcess:
    """The process of a worker, as the event of its start tells."""

    worker: str
    pid: int
    attempt: int
    seen_s: float
    """Seconds since the Unix epoch at which it certainly ran."""

    def is_here(self) -> bool:
        """Whether it lives, on this machine; always false where there is no /proc."""
        process = Path("/proc") / str(self.pid)
        try:
            if b"ray::" not in (process / "cmdline").read_bytes():
                return False
            # After the name, which may hold anything: state is field 3, starttime field 22.
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            booted_s = int(re.findall(r"^btime (\d+)", Path("/proc/stat").read_text(), re.MULTILINE)[0])
        except (OSError, IndexError):
            return False
        born_s = booted_s + int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return fields[0] != "Z" and born_s < self.seen_s + _CLOCKS_DIFFER_S


def started_processes(run: RunDirectory) -> Iterator[WorkerProcess]:
    """Every worker process that any attempt of a run has started, living or not, oldest first."""
    for event in read_journal(run.outbox, "events"):
        if event["kind"] == EventKind.WORKER_STARTED:
            seen_s = datetime.fromisoformat(event["time"]).timestamp()
            yield WorkerProcess(event["worker"], event["pid"], event["attempt"], seen_s)
