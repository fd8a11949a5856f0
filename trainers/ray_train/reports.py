"""What the workers report, put on record."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never

from ray.train import Checkpoint

from orchestrator.domain.events import EventKind
from orchestrator.domain.membership import Generation
from orchestrator.domain.retry import FailureBudget
from orchestrator.domain.status import RunStatus
from trainers.elastic.messages import (
    CheckpointFailed,
    Entered,
    Evaluated,
    Formed,
    GroupBroken,
    PartsWritten,
    ReplicasDiffer,
    Report,
    StepNotFinite,
    StepPoint,
    StepsDone,
)
from trainers.ray_train.happenings import CheckpointCommitted, CommitFailed, Happening, StillBroken
from trainers.ray_train.internals import TrainingReport
from trainers.recorder import Recorder

_EXPLAIN_WITHIN_S = 0.1
"""A broken collective is nearly always a death; the news of it is at most this much later."""


_TELL_EACH = 3
"""Skipped steps that are an event each; from then on each time their number has doubled."""


class ReportDesk:
    """Takes reports of members; what a worker of an older generation says is not heard."""

    def __init__(self, recorder: Recorder, register: Callable[[TrainingReport], None], filesystem: Any):
        self._recorder = recorder
        self._register = register
        self._filesystem = filesystem
        self._formed = 0
        self._skipped: set[int] = set()
        self._step_without_checkpoint = -1

    def take(
        self,
        report: Report,
        generation: Generation,
        budget: FailureBudget,
        later: Callable[[float, Happening], None],
    ) -> None:
        if report.generation < self._formed:
            return
        match report:
            case StepsDone(points=points):
                self._on_steps(points)
                budget.progressed(self._recorder.step)
            case Formed():
                self._on_formed(report, generation)
            case GroupBroken(generation=number, reason=reason, absent=absent):
                # A group that breaks again at once is no better off for haste.
                wait_s = _EXPLAIN_WITHIN_S * 4**budget.losses_without_progress
                later(wait_s, StillBroken(number, reason, absent))
            case CheckpointFailed(step=step, reason=reason):
                self._skipped_checkpoint(step, reason)
            case PartsWritten():
                pass  # for the desk that commits
            case Entered() | StepNotFinite() | ReplicasDiffer():
                pass  # for the guards
            case Evaluated(step=step, metrics=metrics):
                self._recorder.evaluated(step, metrics)
                shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
                self._recorder.event(
                    EventKind.EVALUATED, f"step {step}: {shown}", step=step, metrics=dict(metrics)
                )
            case _:
                assert_never(report)

    def _on_steps(self, points: tuple[StepPoint, ...]) -> None:
        self._recorder.steps(tuple(self._counted(point) for point in points))

    def _counted(self, point: StepPoint) -> StepPoint:
        """With the number of steps skipped so far; each is an event, in the end ever more rarely."""
        fresh = point.skipped and point.step not in self._skipped and point.step > self._recorder.step
        if fresh:
            self._skipped.add(point.step)
        count = len(self._skipped)
        if fresh and (count <= _TELL_EACH or count.bit_count() == 1):
            message = f"step {point.step}: loss or gradient was not finite, the update was left out"
            if count > 1:
                message += f"; {count} steps were so far"
            self._recorder.event(EventKind.STEP_SKIPPED, message, step=point.step, count=count)
        return replace(point, metrics={**point.metrics, "steps_skipped": float(count)}) if count else point

    def _on_formed(self, formed: Formed, generation: Generation) -> None:
        self._formed = formed.generation
        for path, reason in formed.skipped_checkpoints:
            self._recorder.event(EventKind.CHECKPOINT_SKIPPED, reason, path=path)
        members = generation.members if generation.number == formed.generation else ()
        self._recorder.formed(formed, len(members))
        if self._recorder.state.status is RunStatus.STARTING:
            self._recorder.move(RunStatus.RUNNING)
        self._recorder.phase("")
        self._recorder.event(
            EventKind.GENERATION_STARTED,
            f"generation {formed.generation}: {_workers(len(members))} on from step {formed.step}",
            generation=formed.generation,
            workers=list(members),
            step=formed.step,
            steps_repeated=formed.lost_steps,
            form_s=round(formed.form_s, 4),
            copy_s=round(formed.copy_s, 4),
            source=formed.source,
        )

    def checkpoint(self, news: CheckpointCommitted | CommitFailed) -> None:
        """What became of a checkpoint whose parts are all in storage."""
        if isinstance(news, CommitFailed):
            self._skipped_checkpoint(news.step, news.reason, news.wish)
            return
        if news.trouble:
            self._recorder.event(EventKind.CHECKPOINT_SKIPPED, news.trouble, step=news.step)
        known = self._recorder.state.checkpoint == news.path
        self._recorder.checkpoint(news.path, news.parameters_sha256)
        if known and not news.wish:
            return  # another generation, or the attempt before, committed it
        self._recorder.event(
            EventKind.CHECKPOINT_COMMITTED,
            "; ".join(filter(None, (f"checkpoint of step {news.step} is committed", news.remark))),
            step=news.step,
            path=news.path,
            parameters_sha256=news.parameters_sha256,
            **_answering(news.wish),
        )
        self._register(
            TrainingReport(
                metrics={"step": news.step, **news.metrics},
                checkpoint=Checkpoint(path=news.path, filesystem=self._filesystem),
                validation=False,
            )
        )

    def _skipped_checkpoint(self, step: int, reason: str, wish: int = 0) -> None:
        """Once for each step: where storage is in trouble every member says so."""
        if wish or step != self._step_without_checkpoint:
            self._step_without_checkpoint = step
            self._recorder.event(EventKind.CHECKPOINT_SKIPPED, reason, step=step, **_answering(wish))


def _answering(wish: int) -> dict[str, int]:
    """Whoever wished for it reads that the wish is over."""
    return {"wish": wish} if wish else {}


def _workers(count: int) -> str:
    return "1 worker goes" if count == 1 else f"{count} workers go"
