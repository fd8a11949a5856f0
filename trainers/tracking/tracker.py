"""What a tracker is: something outside of the run directory that is told the metrics of a run."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus

Metrics = Sequence[Mapping[str, Any]]
"""Records of the journal of metrics, in order and none left out; see docs/run-directory.md."""
_LONGEST_ID: Final = 63
_ABOUT_THE_STEP: Final = frozenset(
    {"seq", "time", "kind", "step", "step_s", "workers", "generation", "attempt"}
)


class Tracker(Protocol):
    """Any method may take long and raise anything; it is opened anew after that, and told again."""

    def open(self) -> int:
        """Make or find the run there; the number of the newest record that it has."""
        ...

    def tell(self, records: Metrics) -> None: ...

    def finish(self, status: RunStatus) -> None:
        """It was told all that there is. A run that is not over may be opened again."""
        ...

    def close(self) -> None:
        """Let go of what is open, also after an error."""
        ...


@dataclass(frozen=True)
class Package:
    """What a tracker needs installed."""

    module: str
    wanted: str
    """What pip is asked for."""


PACKAGES: Final[Mapping[str, Package]] = MappingProxyType(
    {
        "mlflow": Package("mlflow", "mlflow-skinny"),
        "wandb": Package("wandb", "wandb"),
    }
)
"""By the name of the tracker's field in `log`; TensorBoard's files need none."""


def tracker_id(run: RunDirectory) -> str:
    """By what trackers know the run: the same in all attempts, not that of a later run of its name."""
    made = hashlib.sha256(f"{run.name} {run.record().created}".encode()).hexdigest()[:8]
    return f"{run.name[: _LONGEST_ID - 9]}-{made}"


def numbers_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Name -> value, in groups: `train/loss`, `evaluation/val_loss`, `run/workers`. None of other kinds."""
    kind = record.get("kind")
    if kind not in (None, "evaluation"):
        return {}
    group = "train" if kind is None else "evaluation"
    measured = {
        f"{group}/{name}": float(value)
        for name, value in record.items()
        if name not in _ABOUT_THE_STEP and isinstance(value, int | float)
    }
    about = {f"run/{name}": float(record[name]) for name in ("step_s", "workers") if name in record}
    return measured | about
