"""What every worker and the controller of an attempt are told at birth. Imports no torch: the controller
needs none."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from trainers.tracking.memory import recall
from trainers.tracking.tracker import tracker_id

if TYPE_CHECKING:
    from trainers.feed.run_feed import RunFeed


@dataclass(frozen=True)
class WorkerJob:
    spec: RunSpec
    run_folder: Path
    data_folder: Path
    """Where prepared data sets lie; all workers see it."""
    attempt: int
    orphan_grace_s: float = 0.0
    """Seconds that the controller goes on with neither driver nor service; 0 ends it with its driver."""

    feed: "RunFeed | None" = None
    """Where its rows are; None for a task that brings its own."""

    @property
    def checkpoints(self) -> str:
        """Where they lie: a folder or a URI."""
        return self.spec.checkpoint.checkpoints_of(self.run_folder.absolute())

    @property
    def detached(self) -> bool:
        """The service started it: the controller outlives its driver, and hears the orders of the service."""
        return self.orphan_grace_s > 0


def run_environment(job: WorkerJob) -> dict[str, str]:
    """Environment variables that tell a training process which run it belongs to, in everybody's words.

    Experiment trackers see one run however often the group changes.
    """
    name = job.spec.name
    run = RunDirectory(job.run_folder)
    known = recall(run.path / "tracking" / "mlflow.json").id
    return {
        "TUMBLER_RUN_ID": name,
        "TUMBLER_RUN_NAME": name,
        "TUMBLER_ATTEMPT": str(job.attempt),
        "TORCHELASTIC_RUN_ID": name,
        "WANDB_RUN_ID": tracker_id(run),
        "WANDB_RESUME": "allow",
        # MLflow gives a run its id itself, and refuses one that it does not know.
        **({"MLFLOW_RUN_ID": known} if known else {}),
    }
