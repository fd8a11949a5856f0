"""How far a webhook was told: HOME/webhooks/NAME.json, which a service that begins anew goes on from."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from orchestrator.domain.disk import replace_text, storage_errors
from orchestrator.domain.json_files import read_model
from orchestrator.domain.runs import Run, RunEvent


class Failing(BaseModel):
    """It takes nothing now."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    since: str
    why: str
    run: str
    """Whose event it is that it does not take."""


class Standing(BaseModel):
    """Written after the receiver took an event: at worst that one is told again, under the same id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    floor: str
    """Of runs that are not named below, all that is older was told, or was there before the webhook."""
    done: Mapping[str, int] = {}
    """Run id -> the newest event that was told, or that it did not want."""
    failing: Failing | None = None

    def told(self, run: Run) -> int:
        """The newest event of the run that needs no look; 0 for none."""
        return self.done.get(run.id, 0)

    def is_due(self, run: Run, event: RunEvent) -> bool:
        if run.id in self.done:
            return event.seq > self.done[run.id]
        return run.created > self.floor or event.time > self.floor

    def with_told(self, run_id: str, seq: int) -> "Standing":
        return self.model_copy(update={"done": {**self.done, run_id: seq}, "failing": None})

    def raised(self, floor: str, runs: Iterable[Run]) -> "Standing":
        """Nothing is left to tell: runs that ended before need no name any more."""
        kept = {run.id for run in runs if not run.status.terminal or run.updated >= floor}
        done = {run_id: seq for run_id, seq in self.done.items() if run_id in kept}
        return self.model_copy(update={"floor": max(floor, self.floor), "done": done})


def standing_path(home: Path, name: str) -> Path:
    return home / "webhooks" / f"{name}.json"


def read_standing(path: Path) -> Standing | None:
    """None for a webhook that is new. Raises StorageError."""
    return read_model(path, Standing) if path.is_file() else None


def write_standing(path: Path, standing: Standing) -> None:
    """Raises StorageError."""
    with storage_errors("create", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, standing.model_dump_json())
