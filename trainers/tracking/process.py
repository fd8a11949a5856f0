"""The process that tells trackers what the journals say: `python -m trainers.tracking.process RUN ATTEMPT`.

Beside training and not in it: it reads the run directory, gives way to whoever computes, and a tracker that
is down holds up nobody. It is nobody's child, for Ray ends those with a controller, and stays until its
trackers have everything. What should become an event goes to stdout, a line of JSON each.
"""

import fcntl
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from orchestrator.domain.run_directory import RunDirectory
from trainers.tracking.event_files import EventFiles
from trainers.tracking.following import Follower
from trainers.tracking.mlflow_run import MlflowRun
from trainers.tracking.tracker import Tracker, tracker_id
from trainers.tracking.wandb_run import WandbRun

_NICE: Final = 19


def trackers_of(run: RunDirectory) -> Mapping[str, Tracker]:
    """Those that its spec asks for, by name."""
    spec, folder, known = run.spec(), tracking_folder(run), tracker_id(run)
    log = spec.log
    found: dict[str, Tracker] = {}
    if log.tensorboard:
        found["tensorboard"] = EventFiles(run.path / "tensorboard")
    if log.mlflow is not None:
        found["mlflow"] = MlflowRun(log.mlflow, spec, known, folder / "mlflow.json")
    if log.wandb is not None:
        found["wandb"] = WandbRun(log.wandb, spec, known, folder / "wandb.json")
    return MappingProxyType(found)


def tracking_folder(run: RunDirectory) -> Path:
    return run.path / "tracking"


def tell_all(
    run: RunDirectory, attempt: int, gone: threading.Event, say: Callable[[dict[str, Any]], None]
) -> None:
    """Each tracker in a thread of its own, until it has everything or was given up."""
    never = threading.Event()
    threads = [
        threading.Thread(
            target=Follower(name, tracker, run, attempt, say, gone, never.wait).follow, name=name
        )
        for name, tracker in trackers_of(run).items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    run, attempt = RunDirectory(Path(sys.argv[1])), int(sys.argv[2])
    if os.fork():
        os._exit(0)
    os.setsid()
    os.nice(_NICE)
    with suppress(OSError):  # Linux may weigh whole sessions, and this is one of its own
        Path("/proc/self/autogroup").write_text(str(_NICE))
    events = os.fdopen(os.dup(1), "w", buffering=1)
    _into_a_file(tracking_folder(run))
    gone = threading.Event()
    threading.Thread(target=_hear_the_end, args=(gone,), daemon=True).start()

    def say(told: dict[str, Any]) -> None:
        print(told["message"], flush=True)
        with suppress(OSError):  # the controller is gone
            events.write(json.dumps(told) + "\n")

    with _alone(tracking_folder(run)):
        tell_all(run, attempt, gone, say)
    os._exit(0)


def _hear_the_end(gone: threading.Event) -> None:
    """Nothing is ever said on stdin; it ends with the controller."""
    sys.stdin.buffer.read()
    gone.set()


def _into_a_file(folder: Path) -> None:
    """What trackers print belongs to nobody's training."""
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "tracking.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _alone(folder: Path) -> Any:
    """One process tells the trackers of a run; the next attempt's waits until this one is done."""
    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


if __name__ == "__main__":
    main()
