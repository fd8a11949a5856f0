"""One run of Weights & Biases for a run of ours, by an id that is the same in every attempt."""

from pathlib import Path
from typing import Any

from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_parts import WandbSpec
from orchestrator.domain.status import RunStatus
from trainers.tracking.memory import Memory, news, recall, remember
from trainers.tracking.tracker import Metrics


class WandbRun:
    def __init__(self, wish: WandbSpec, spec: RunSpec, tracker_id: str, path: Path) -> None:
        """`path` is where it remembers how far it came; what W&B itself writes lies beside it."""
        self._wish = wish
        self._spec = spec
        self._tracker_id = tracker_id
        self._path = path
        self._run: Any = None
        self._memory = Memory()

    def open(self) -> int:
        import wandb

        self._memory = recall(self._path).model_copy(update={"id": self._tracker_id})
        self._run = wandb.init(
            id=self._tracker_id,
            resume="allow",
            name=self._spec.name,
            project=self._wish.project,
            entity=self._wish.entity,
            mode=self._wish.mode,
            dir=str(self._path.parent),
            tags=[f"{name}={value}"[:64] for name, value in self._spec.labels.items()],
            config=self._spec.model_dump(mode="json"),
            # What the machine of the driver does is not what the workers do.
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, init_timeout=60),
        )
        # Their own counter only grows; ours may begin again at a later attempt.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        remember(self._path, self._memory)
        return self._memory.seq

    def tell(self, records: Metrics) -> None:
        """Only fills a queue: its own process sends it, and tries again where nobody answers."""
        points, memory = news(self._memory, records)
        for point in points:
            self._run.log({"step": point.step, "_timestamp": point.time_s, **point.numbers})
        self._memory = memory
        remember(self._path, memory)

    def finish(self, status: RunStatus) -> None:
        self._run.finish(exit_code=0 if status is RunStatus.SUCCEEDED or not status.terminal else 1)
        self._run = None

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None
