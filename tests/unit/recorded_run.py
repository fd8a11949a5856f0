"""Run directories as the trainers write them, without training: the real writers, told what to write."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.domain.events import EventKind
from orchestrator.domain.order import BatchPlan
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason, RunStatus
from trainers.elastic.messages import Formed, StepPoint
from trainers.recorder import Recorder

ROWS, BATCH, NUM_STEPS = 100, 4, 8
START_S = 1_000_000.0
"""Step n is done n seconds after it."""


class RecordedRun:
    """A run of a few steps whose recorder is in the hands of the test."""

    def __init__(
        self,
        storage: Path,
        name: str = "brave-otter",
        *,
        links: Mapping[int, str] = MappingProxyType({NUM_STEPS: "p"}),
        **spec: Any,
    ) -> None:
        """`links` says of which letter the hash of the parameters is made at the steps that have one."""
        content = {
            "name": name,
            "task": "language_model",
            "train": {"steps": NUM_STEPS, "global_batch": BATCH},
            **spec,
        }
        self.run = RunDirectory.create(storage, RunSpec.parse(content))
        self._plan = BatchPlan(ROWS, BATCH, BATCH, seed=1)
        self._links = links
        self.recorder = Recorder(self.run, global_batch=BATCH, link_every=min(links))
        self.recorder.move(RunStatus.STARTING)
        self.recorder.event(EventKind.RUN_STARTED, f"attempt 1 of {name} starts")
        self.recorder.plan(ROWS, NUM_STEPS)

    def started(self, **pids: int) -> None:
        for worker, pid in pids.items():
            self.recorder.event(EventKind.WORKER_PLACED, f"worker {worker} was given a place", worker=worker)
            self.recorder.event(EventKind.WORKER_STARTED, f"worker {worker} starts", worker=worker, pid=pid)

    def formed(self, number: int, *workers: str, step: int = 0, repeated: int = 0) -> None:
        formed = Formed(workers[0], number, step, repeated, form_s=0.02, copy_s=0.0, source="fresh")
        self.recorder.formed(formed, len(workers))
        if self.recorder.state.status is RunStatus.STARTING:
            self.recorder.move(RunStatus.RUNNING)
        self.recorder.event(
            EventKind.GENERATION_STARTED,
            f"generation {number}: {len(workers)} workers go on from step {step}",
            generation=number,
            workers=list(workers),
            step=step,
            steps_repeated=repeated,
            form_s=0.02,
            copy_s=0.0,
            source="fresh",
        )

    def steps(self, first: int, last: int, *, workers: int = 2, generation: int = 1) -> None:
        """Steps `first` to `last`, both done; the loss of step n is 5 - n / 2."""
        for step in range(first, last + 1):
            epoch, begin, end = self._plan.span(step)
            point = StepPoint(
                step=step,
                epoch=epoch,
                first=begin,
                last=end,
                time_s=START_S + step,
                step_s=0.5,
                generation=generation,
                world_size=workers,
                skipped=False,
                metrics={"loss": 5 - step / 2, "count": 40.0},
                parameters_sha256=self._links[step] * 64 if step in self._links else None,
                optimizer_sha256="o" * 64 if step in self._links else None,
            )
            self.recorder.steps((point,))

    def lost(self, worker: str) -> None:
        self.recorder.event(
            EventKind.WORKER_LOST, f"worker {worker} was lost: its process died", worker=worker
        )

    def ended(self, status: RunStatus = RunStatus.SUCCEEDED, reason: EndReason = EndReason.FINISHED) -> None:
        if status is RunStatus.SUCCEEDED:
            self.recorder.evaluated(self.recorder.step, {"val_loss": 1.0, "val_perplexity": 2.7183})
            self.recorder.checkpoint("somewhere", "p" * 64)
        if status is RunStatus.CANCELLED:
            self.recorder.move(RunStatus.CANCELLING)
        self.recorder.move(status, reason=reason, message="" if status is RunStatus.SUCCEEDED else "told so")
        self.recorder.event(EventKind.RUN_ENDED, f"the run ended: {reason}")
        self.recorder.close()


def finished_run(storage: Path, name: str = "brave-otter", **spec: Any) -> RunDirectory:
    """Eight steps by two workers; one is lost after the third, its replacement joins after the fifth."""
    recorded = RecordedRun(storage, name, **spec)
    recorded.started(w1=11, w2=12)
    recorded.formed(1, "w1", "w2")
    recorded.steps(1, 3)
    recorded.lost("w2")
    recorded.formed(2, "w1", step=3, repeated=1)
    recorded.started(w3=13)
    recorded.steps(4, 5, workers=1, generation=2)
    recorded.formed(3, "w1", "w3", step=5)
    recorded.steps(6, 8, generation=3)
    recorded.ended()
    return recorded.run
