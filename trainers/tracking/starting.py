"""How a controller has its metrics told to trackers: a process beside it, whose troubles become events."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from trainers.elastic.job import WorkerJob

_ROOT: Final = Path(__file__).resolve().parents[2]


def start_tracking(job: WorkerJob, on_event: Callable[[dict[str, Any]], object]) -> None:
    """Nothing where the spec asks for no tracker.

    It ends by itself: when the run is over and its trackers have everything, or this process is gone.
    `on_event` is called in a thread, with `kind`, `message` and facts.
    """
    if not job.spec.log.trackers:
        return
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers.tracking.process", str(job.run_folder), str(job.attempt)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    threading.Thread(target=_listen, args=(process, on_event), name="tracking", daemon=True).start()


def _listen(process: subprocess.Popen[bytes], on_event: Callable[[dict[str, Any]], object]) -> None:
    assert process.stdout is not None
    with process.stdout as said:
        for line in said:
            with suppress(RuntimeError):  # the event loop is closed: nothing is recorded any more
                on_event(json.loads(line))
    process.wait()  # the one that started it; it was gone at once
