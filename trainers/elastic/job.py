"""What every worker and the controller of an attempt are told at birth. Imports no torch: the controller
needs none."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.spec import RunSpec


@dataclass(frozen=True)
class WorkerJob:
    spec: RunSpec
    run_folder: Path
    data_folder: Path
    """Where prepared data sets lie; all workers see it."""
    attempt: int
