"""One driver of an attempt, as the service starts it in a Ray Job: `python -m trainers.driver RUN_FOLDER
--attempt N --driver M`.

It finds the living controller of the attempt and waits with it; or it is the first, checks what can be
checked, and starts the controller; or the controller is gone, and it says so on record, which ends the
attempt.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum, auto
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, assert_never

import ray
from ray.exceptions import RayActorError
from ray.train import ControllerError

from orchestrator.domain.errors import (
    NotFinished,
    RunCancelled,
    RunFailed,
    StorageError,
    TumblerError,
    WrongStatus,
)
from orchestrator.domain.orders import Orders
from orchestrator.domain.run_directory import RunDirectory, RunState
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus
from trainers.closing import close_record, reason_for, sentence_for
from trainers.door import at_the_door
from trainers.elastic.job import WorkerJob
from trainers.exit import leave
from trainers.main import pinned_feed, run_attempt
from trainers.ray_session import ray_connection
from trainers.ray_train.attendance import NotObeyed, attend, living_controller, patiently, sweep
from trainers.ray_train.lookout import orders_for

ORPHAN_GRACE_S: Final = 60.0


class Duty(Enum):
    """What a driver has to do."""

    NOTHING = auto()
    ADOPT = auto()
    START = auto()
    CLOSE = auto()


def duty(state: RunState, *, controller_lives: bool) -> Duty:
    """`state` must have been read after the controller was looked for: one that is over writes and goes."""
    if state.reason is not None:
        return Duty.NOTHING
    if controller_lives:
        return Duty.ADOPT
    return Duty.START if state.status is RunStatus.QUEUED else Duty.CLOSE


def drive(run: RunDirectory, attempt: int, *, orphan_grace_s: float = ORPHAN_GRACE_S) -> None:
    """See an attempt through to its end; how it ended is in the run directory.

    Raises WrongStatus where this is not the newest attempt; ClusterUnavailable; what the door raises.
    """
    newest = run.record().attempt
    if attempt != newest:
        raise WrongStatus(f"run {run.name} is at attempt {newest}, there is nothing to drive in {attempt}")
    if run.read_status().reason is None:
        with ray_connection():
            _drive(run, attempt, orphan_grace_s)


def _drive(run: RunDirectory, attempt: int, orphan_grace_s: float) -> None:
    orders = orders_for(run, attempt)
    spec = ordered_spec(run.spec(), orders, run.path.parent, _shipped_code())
    job = WorkerJob(spec, run.path, run.path.parent, attempt, orphan_grace_s)
    controller = living_controller(run.name, attempt)
    todo = duty(run.read_status(), controller_lives=controller is not None)
    match todo:
        case Duty.NOTHING:
            pass
        case Duty.ADOPT:
            _lead(run, job, lambda: attend(controller, job))
        case Duty.START:
            job = _checked(run, job, orders)
            _lead(run, job, lambda: run_attempt(job))
        case Duty.CLOSE:
            patiently(lambda: sweep(run.name))
            close_record(run, attempt, EndReason.CONTROLLER_LOST, "the controller died with its driver")
        case _:
            assert_never(todo)


def ordered_spec(spec: RunSpec, orders: Orders | None, storage: Path, code: Path) -> RunSpec:
    """The spec of a run as this attempt is to train it: so many workers, here, with the code that is here."""
    workers = spec.workers
    if orders is not None:
        most = max(orders.target, orders.workers_min)
        workers = workers.model_copy(update={"min": orders.workers_min, "max": most})
    return spec.model_copy(
        update={
            "workers": workers,
            "checkpoint": spec.checkpoint.model_copy(update={"storage": str(storage.absolute())}),
            "code": spec.code.model_copy(update={"working_dir": str(code)}),
        }
    )


def _shipped_code() -> Path:
    """Where the user's code is: in a job that the service gave some, its own working directory."""
    if "working_dir" in ray.get_runtime_context().runtime_env:
        return Path.cwd()
    return Path(__file__).resolve().parent.parent


def _checked(run: RunDirectory, job: WorkerJob, orders: Orders | None) -> WorkerJob:
    """The job with what the door made of its spec. What it refuses, and a wish to stop, ends the attempt."""
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        if orders is not None and orders.stop is not None:
            raise KeyboardInterrupt(orders.why_stop)
        admitted = at_the_door(job.spec, served=True)
        feed = pinned_feed(run, admitted, job.data_folder)
    except BaseException as error:
        reason = reason_for(error)
        if reason is EndReason.USER_CANCELLED:
            reason = _ordered_stop(run, job.attempt) or reason
        with suppress(StorageError):  # the error itself says more
            _close(run, job, reason, error)
        raise
    return replace(job, spec=admitted.spec, feed=feed)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


def _lead(run: RunDirectory, job: WorkerJob, lead: Callable[[], object]) -> None:
    """Lead an attempt to its end. A controller puts that on record itself; where one did not, we do."""
    try:
        lead()
    except NotObeyed as error:
        _close(run, job, _ordered_stop(run, job.attempt) or EndReason.USER_CANCELLED, error)
    except (TumblerError, RayActorError, ControllerError) as error:
        _close(run, job, reason_for(error), error)
    except BaseException as error:
        if job.spec.task is None:  # stock runs have no controller but this process
            _close(run, job, reason_for(error), error)
        raise


def _ordered_stop(run: RunDirectory, attempt: int) -> EndReason | None:
    orders = orders_for(run, attempt)
    return orders.stop if orders is not None else None


def _close(run: RunDirectory, job: WorkerJob, reason: EndReason, error: BaseException) -> None:
    close_record(run, job.attempt, reason, sentence_for(error))


def exit_code(status: RunStatus) -> int:
    """As `python -m trainers.main` ends; an attempt that was paused did what was wished."""
    match status:
        case RunStatus.SUCCEEDED | RunStatus.PAUSED:
            return 0
        case RunStatus.CANCELLED:
            return RunCancelled.exit_code
        case RunStatus.FAILED:
            return RunFailed.exit_code
        case _:
            return NotFinished.exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainers.driver", description="See an attempt of a run through to its end."
    )
    parser.add_argument("run", type=Path, help="run directory, begun by the service")
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--driver", type=int, required=True, help="the how manieth of this attempt")
    parser.add_argument(
        "--orphan-grace",
        type=float,
        default=ORPHAN_GRACE_S,
        metavar="SECONDS",
        help="how long the controller goes on with neither driver nor service",
    )
    options = parser.parse_args(arguments)
    try:
        run = RunDirectory.open(options.run.absolute())
        print(f"driver {options.driver} of attempt {options.attempt} of run {run.name}", flush=True)
        with suppress(KeyboardInterrupt):  # on record by now, if it ended the attempt
            drive(run, options.attempt, orphan_grace_s=options.orphan_grace)
        state = run.read_status()
    except TumblerError as error:
        print("\n".join(line for line in (str(error), error.hint) if line), file=sys.stderr)
        return error.exit_code
    print(f"{run.name} is {state.status} at step {state.step}: {state.reason} {state.message}".rstrip())
    return exit_code(state.status)


if __name__ == "__main__":
    leave(main())
