"""Ray Train's controller, driven by what happens instead of by a poll every two seconds.

Ray's states and callbacks stay; what differs is the running state: one turn of the elastic worker group after
another, until the group says how the attempt ends. Imports no torch: a controller decides, it does not
compute.
"""

from typing import Any

from ray.train import TrainingFailedError

from orchestrator.domain.events import EventKind
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import ENDINGS, EndReason, RunStatus
from trainers.elastic.job import WorkerJob
from trainers.elastic.messages import Report
from trainers.ray_train.happenings import End, Reported, StopRequested, TargetChanged
from trainers.ray_train.internals import (
    ErroredState,
    FinishedState,
    NoopDecision,
    ResizeDecision,
    RunningState,
    ScalingDecision,
    ScalingPolicy,
    ShuttingDownState,
    TrainController,
    TrainControllerLoopIterationResult,
    TrainControllerState,
    TrainingReport,
    TrainRunContext,
)
from trainers.ray_train.reports import ReportDesk
from trainers.ray_train.worker_group import ElasticWorkerGroup
from trainers.recorder import Recorder


class AttemptFailed(TrainingFailedError):  # type: ignore[misc]
    """The attempt ended without success; `reason` says why, `traceback` is the user's own if it raised."""

    def __init__(self, reason: EndReason, message: str, traceback: str = ""):
        super().__init__(reason, message, traceback)
        self.reason = reason
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class TargetScalingPolicy(ScalingPolicy):  # type: ignore[misc]
    """Asks for the target at once; the group itself grows as the cluster grants places, and shrinks by the
    target."""

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        return ResizeDecision(
            self.scaling_config.max_workers, self.scaling_config._resources_per_worker_not_none
        )

    def make_decision_for_running_worker_group(self, *_: Any, **__: Any) -> ScalingDecision:
        return NoopDecision()

    def _get_num_workers_for_resource_request(self) -> int:
        return int(self.scaling_config.max_workers)

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        """Without an autoscaler nobody needs to be told what is wanted, and telling costs an actor and a
        second."""


class ElasticTrainController(TrainController):  # type: ignore[misc]
    worker_group_cls = ElasticWorkerGroup
    _worker_group: ElasticWorkerGroup | None

    def __init__(self, *, train_run_context: TrainRunContext, **arguments: Any) -> None:
        job: WorkerJob = train_run_context.train_loop_config["job"]
        self._job = job
        self._recorder = Recorder(
            RunDirectory(job.run_folder),
            global_batch=job.spec.train.global_batch,
            link_every=job.spec.checkpoint.every,
        )
        self._recorder.move(RunStatus.STARTING)
        self._recorder.event(
            EventKind.RUN_RESUMED if job.attempt > 1 else EventKind.RUN_STARTED,
            f"attempt {job.attempt} of {job.spec.name} starts",
        )
        self._unheard: list[StopRequested] = []
        super().__init__(train_run_context=train_run_context, **arguments)

    # what others call

    async def take_report(self, report: Report) -> None:
        if self._worker_group is not None:
            self._worker_group.tell(Reported(report))

    async def set_target(self, target: int) -> None:
        """How many workers the run is granted from now on; between `workers.min` and the logical shards."""
        lowest, highest = self._job.spec.workers.min, self._job.spec.train.logical_shards
        if not lowest <= target <= highest:
            raise ValueError(
                f"expected {lowest} to {highest} workers (workers.min, logical shards), got {target}"
            )
        if self._worker_group is not None:
            self._worker_group.tell(TargetChanged(target))

    async def request_stop(self, reason: EndReason, message: str) -> None:
        """Let the workers leave at the next step boundary, with a last checkpoint."""
        wish = StopRequested(reason, message)
        if self._worker_group is None:
            self._unheard.append(wish)
        else:
            self._worker_group.tell(wish)

    # what the loop does

    def _start_worker_group(self, num_workers: int, resources_per_worker: dict[str, float]) -> None:
        super()._start_worker_group(num_workers, resources_per_worker)
        assert self._worker_group is not None
        desk = ReportDesk(
            self._recorder,
            self._register_checkpoint,
            self._storage_context.storage_filesystem,
        )
        self._worker_group.join_run(self._job, self._recorder, desk, num_workers)
        for wish in self._unheard:
            self._worker_group.tell(wish)

    def _register_checkpoint(self, report: TrainingReport) -> None:
        """Tell Ray's books of a checkpoint; one written again after a rewind takes its own old place."""
        books = self._checkpoint_manager
        for result in list(books._checkpoint_results):
            if result.checkpoint.path == report.checkpoint.path:
                books._checkpoint_results.remove(result)
                books._checkpoint_to_report_index.pop(result.checkpoint, None)
        books.register_checkpoint(report)

    async def _step(self) -> TrainControllerLoopIterationResult:
        if not isinstance(self.get_state(), RunningState):
            return await super()._step()
        assert self._worker_group is not None
        verdict = await self._worker_group.turn()
        return TrainControllerLoopIterationResult(
            run_attempt_id=self._get_run_attempt_id(),
            previous_state=self.get_state(),
            next_state=self._conclude(verdict) if isinstance(verdict, End) else RunningState(),
        )

    def _conclude(self, end: End) -> TrainControllerState:
        status = ENDINGS[end.reason].status
        facts = {"parameters_sha256": end.result.parameters_sha256} if end.result else {}
        if status is RunStatus.CANCELLED and self._recorder.state.status is not RunStatus.CANCELLING:
            self._recorder.move(RunStatus.CANCELLING)
        self._recorder.move(status, reason=end.reason, message=end.message, phase="", workers=0, **facts)
        self._recorder.event(
            EventKind.RUN_ENDED,
            f"the run ended: {end.reason}" + (f", {end.message}" if end.message else ""),
            status=str(status),
            reason=str(end.reason),
            step=self._recorder.step,
            **facts,
        )
        self._recorder.close()
        self._return_value = end.result
        if status is RunStatus.SUCCEEDED or status is RunStatus.CANCELLED:
            return ShuttingDownState(next_state=FinishedState())
        error = AttemptFailed(end.reason, end.message, end.traceback)
        return ShuttingDownState(next_state=ErroredState(training_failed_error=error))
