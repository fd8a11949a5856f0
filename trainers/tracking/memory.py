"""What is kept of a tracker that cannot say itself how far it came: RUN/tracking/NAME.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.disk import replace_text, storage_errors
from orchestrator.domain.json_files import read_model
from trainers.tracking.tracker import Metrics, numbers_of


class Memory(BaseModel):
    """Written after the tracker took what it was told: at worst the last few records are told again."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    seq: int = 0
    """The newest record it took."""
    step: int = 0
    """The newest step it was told, rewinds or not."""
    evaluated: int = 0
    """The same of evaluations."""
    id: str = ""
    """By what the tracker itself knows the run."""


@dataclass(frozen=True)
class Point:
    step: int
    time_s: float
    numbers: Mapping[str, float]


def news(memory: Memory, records: Metrics) -> tuple[list[Point], Memory]:
    """What the records have to tell, and what is to be remembered once it was told.

    These trackers take nothing back. A step that is done again comes out the same, so it is told once.
    """
    points = []
    newest = {"step": memory.step, "evaluated": memory.evaluated}
    for record in records:
        which = "evaluated" if record.get("kind") == "evaluation" else "step"
        numbers, step = numbers_of(record), int(record.get("step", 0))
        if numbers and step > newest[which]:
            newest[which] = step
            points.append(Point(step, float(record.get("time", 0.0)), numbers))
    return points, memory.model_copy(update={"seq": records[-1]["seq"], **newest})


def recall(path: Path) -> Memory:
    """Raises StorageError where it is broken."""
    return read_model(path, Memory) if path.is_file() else Memory()


def remember(path: Path, memory: Memory) -> None:
    """Raises StorageError."""
    with storage_errors("create", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, memory.model_dump_json())
