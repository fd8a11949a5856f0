"""The life of a run without a service, on one page: `python -m trainers.main run.yaml`, `tumbler run`, or
`train(spec)`.

Checked at the door, given a run directory, connected to Ray, trained by an elastic TorchTrainer until a
terminal status. Inside a Ray Job (`ray job submit -- python -m trainers.main run.yaml`) it is the driver, and
runs on that cluster.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.errors import (
    ClusterUnavailable,
    RunCancelled,
    RunFailed,
    StorageError,
    TumblerError,
)
from orchestrator.domain.run_directory import RunDirectory, RunState, storage_path
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_file import load_spec
from orchestrator.domain.status import EndReason, RunStatus
from trainers.closing import close_record, reason_for, sentence_for
from trainers.door import Admitted, at_the_door
from trainers.elastic.job import WorkerJob
from trainers.exit import leave

if TYPE_CHECKING:
    from trainers.feed.run_feed import RunFeed


@dataclass(frozen=True)
class RunResult:
    """How a run ended. It succeeded: any other end is an exception."""

    run: RunDirectory
    state: RunState

    @property
    def metrics(self) -> dict[str, float]:
        return self.state.metrics

    @property
    def parameters_sha256(self) -> str | None:
        return self.state.parameters_sha256


def train(
    spec: RunSpec,
    *,
    resume: bool = False,
    num_cpus: int | None = None,
    on_start: Callable[[RunDirectory], None] = lambda run: None,
) -> RunResult:
    """Train until the run has ended, in this process's Ray, in that of RAY_ADDRESS, or in a local one of
    `num_cpus`.

    `on_start` is told the run directory as soon as there is one. Raises SpecError, DataError, RunExists,
    ClusterUnavailable or StorageError before anything starts; RunFailed or RunCancelled for how it ended.
    """
    admitted = at_the_door(spec)
    spec = admitted.spec
    try:
        from trainers.ray_session import (
            ray_session,
        )  # a second to import, which a wrong spec need not wait for
    except ImportError as error:
        raise ClusterUnavailable(
            f"Ray cannot be imported: {error}", hint="pip install 'ray[train,data,default]==2.60.*'"
        ) from error

    with ray_session(spec, num_cpus=num_cpus):
        storage = storage_path(spec.checkpoint.storage)
        run = RunDirectory.create(storage, spec, resume=resume)
        on_start(run)
        attempt = run.record().attempt
        try:
            feed = pinned_feed(run, admitted, storage)
            run_attempt(WorkerJob(spec, run.path, storage, attempt, feed=feed))
        except BaseException as error:
            _close_record(run, attempt, error)
            raise
    return _result(run)


def pinned_feed(run: RunDirectory, admitted: Admitted, storage: Path) -> "RunFeed | None":
    """Where the run's rows are or will be. Raises DataError where an earlier attempt had others."""
    if admitted.scan is None:
        return None
    # Needs pyarrow, which a run with rows of its own need not wait for.
    from trainers.feed.run_feed import pin

    return pin(run, admitted.scan, storage)


def run_attempt(job: WorkerJob) -> None:
    """Train until the attempt is over, in the Ray that this process is connected to."""
    if job.spec.task is None:
        from trainers.stock import run_stock

        run_stock(job)
    else:
        from trainers.ray_train.trainer import run_elastic

        run_elastic(job)


def _result(run: RunDirectory) -> RunResult:
    state = run.read_status()
    if state.status is RunStatus.CANCELLED:
        raise RunCancelled(f"run {run.name} was cancelled at step {state.step}: {state.message}")
    if state.status is not RunStatus.SUCCEEDED:
        raise RunFailed(f"run {run.name} failed: {state.reason}, {state.message}")
    return RunResult(run, state)


def _close_record(run: RunDirectory, attempt: int, error: BaseException) -> None:
    """A run whose driver fails must not look alive; without a service nobody starts it again."""
    reason = reason_for(error)
    cancelled = reason is EndReason.USER_CANCELLED
    status = RunStatus.CANCELLED if cancelled else RunStatus.FAILED
    with suppress(StorageError):  # the error itself says more
        close_record(run, attempt, reason, sentence_for(error), status=status)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trainers.main", description="Train what a run spec says."
    )
    parser.add_argument("spec", type=Path, help="run spec, YAML or JSON")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. train.steps=50"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run of this name")
    parser.add_argument("--num-cpus", type=int, help="what a local Ray is told to have")
    options = parser.parse_args(arguments)
    try:
        spec = load_spec(options.spec, options.set)
        result = train(
            spec,
            resume=options.resume,
            num_cpus=options.num_cpus,
            on_start=lambda run: print(f"run {run.name} in {run.path}", flush=True),
        )
    except TumblerError as error:
        print("\n".join(line for line in (str(error), error.hint) if line), file=sys.stderr)
        return error.exit_code
    shown = ", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
    print(f"{result.run.name} succeeded at step {result.state.step}: {shown}")
    print(f"parameters {result.parameters_sha256}")
    return 0


if __name__ == "__main__":
    leave(main())
