"""Ray Train's controller, driven by what happens instead of by a poll every two seconds.

Ray's states and callbacks stay; what differs is the running state: one turn of the elastic worker group after
another, until the group says how the attempt ends. Imports no torch: a controller decides, it does not
compute.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

import ray
from ray.train import TrainingFailedError

from orchestrator.domain.errors import StorageError
from orchestrator.domain.events import EventKind
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import EndReason, RunStatus
from trainers.closing import close_record, reason_for, sentence_for
from trainers.elastic.faults import Fault
from trainers.elastic.job import WorkerJob
from trainers.elastic.messages import Report
from trainers.ray_train.happenings import End, Happening, Reported, StopRequested, TargetChanged
from trainers.ray_train.internals import (
    CHECKPOINT_MANAGER_SNAPSHOT_FILENAME,
    ErroredState,
    FinishedState,
    NoopDecision,
    ObjectRefWrapper,
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
from trainers.ray_train.lease import Lease
from trainers.ray_train.lookout import Lookout, standing_orders, wishes
from trainers.ray_train.reports import ReportDesk
from trainers.ray_train.train_tab import train_tab_of
from trainers.ray_train.worker_group import ElasticWorkerGroup
from trainers.recorder import Recorder
from trainers.tracking.starting import start_tracking

_LOOK_EVERY_S: Final = 0.2
_FAREWELL_S: Final = 2.0
"""How long a detached controller that is over still answers; its driver usually ends it before."""


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
        """Nobody needs to be told what is wanted: Ray's autoscaler sees the places that the run waits for.
        Telling would cost an actor and a second."""


class ElasticTrainController(TrainController):  # type: ignore[misc]
    """Begins as it is born. Ordinary, it ends with its driver; detached, it goes on without and hears orders
    (see docs/adr/0011)."""

    worker_group_cls = ElasticWorkerGroup
    _worker_group: ElasticWorkerGroup | None

    def __init__(
        self,
        *,
        train_run_context: TrainRunContext,
        train_fn_ref: ObjectRefWrapper,
        train_tab: bool,
        **arguments: Any,
    ) -> None:
        """`train_tab`: whether Ray's Train tab is to show the attempt."""
        job: WorkerJob = train_run_context.train_loop_config["job"]
        self._job = job
        self._train_tab = train_tab_of(job, train_run_context, wanted=train_tab)
        self._recorder = Recorder(
            RunDirectory(job.run_folder),
            global_batch=job.spec.train.global_batch,
            link_every=job.spec.checkpoint.links_every,
            on_event=self._train_tab.hear,
        )
        self._recorder.move(RunStatus.STARTING)
        self._recorder.event(
            EventKind.RUN_RESUMED if job.attempt > 1 else EventKind.RUN_STARTED,
            f"attempt {job.attempt} of {job.spec.name} starts",
        )
        loop = asyncio.get_running_loop()
        start_tracking(job, lambda told: loop.call_soon_threadsafe(self._tracker_says, told))
        self._unheard: list[Happening] = []
        self._lease = Lease(job.orphan_grace_s)
        # Ray would end the attempt over books that a kill has torn, or that name what was removed since.
        (job.run_folder / "checkpoints" / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME).unlink(missing_ok=True)
        super().__init__(
            train_run_context=train_run_context,
            # A copy of its own: what the driver put into the object store dies with the driver.
            train_fn_ref=ObjectRefWrapper(train_fn_ref.get()),
            **arguments,
        )
        self._life = asyncio.get_running_loop().create_task(self._live())

    # what others call

    async def get_attempt(self) -> int:
        return self._job.attempt

    async def wait_over(self) -> None:
        """Return when the attempt is over; any number of drivers may wait."""
        await asyncio.shield(self._life)

    async def renew_lease(self) -> None:
        self._lease.renew()

    @ray.method(max_task_retries=-1)  # numbered, so it may come twice
    async def take_report(self, number: int, report: Report) -> None:
        if self._worker_group is not None:
            self._worker_group.tell(Reported(number, report))

    async def set_target(self, target: int) -> None:
        """How many workers the run is granted from now on; between `workers.min` and the logical shards."""
        lowest, highest = self._job.spec.workers.min, self._job.spec.train.logical_shards
        if not lowest <= target <= highest:
            raise ValueError(
                f"expected {lowest} to {highest} workers (workers.min, logical shards), got {target}"
            )
        self._tell(TargetChanged(target, lowest))

    async def inject(self, worker_id: str, fault: Fault) -> None:
        """Put a fault into a worker, as tests and drills do. Raises KeyError for one that does not live."""
        if self._worker_group is None:
            raise KeyError(worker_id)
        self._worker_group.inject(worker_id, fault)

    async def request_stop(self, reason: EndReason, message: str) -> None:
        """Let the workers leave at the next step boundary, with a last checkpoint."""
        self._tell(StopRequested(reason, message))

    async def leave(self) -> None:
        """End this process."""
        ray.actor.exit_actor()

    # from birth to end

    async def _live(self) -> None:
        watch = asyncio.create_task(self._watch()) if self._job.detached else None
        await self.run()
        await self._train_tab.close(self.get_training_failed_error())
        if watch is None:
            return
        watch.cancel()
        self._close_record()
        asyncio.get_running_loop().call_later(_FAREWELL_S, self._leave)

    async def _watch(self) -> None:
        """See what the service wishes, and whether there is anybody to train for."""
        lookout = Lookout(RunDirectory(self._job.run_folder), self._job.attempt)
        orders = standing_orders(self._job.spec, self._job.attempt)
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            sight = await asyncio.to_thread(lookout.look)
            if sight.orders is not None:
                for wish in wishes(orders, sight.orders):
                    self._tell(wish)
                orders = sight.orders
            if self._lease.lapsed(sight.beat):
                message = f"neither driver nor service was heard of for {self._job.orphan_grace_s:g} s"
                self._tell(StopRequested(EndReason.ORPHANED, message))

    def _close_record(self) -> None:
        """An error of ours ends the attempt too, and there may be no driver to say so."""
        error = self.get_training_failed_error()
        if error is None or self._recorder.state.reason is not None:
            return
        cause = getattr(error, "controller_failure", error)
        with suppress(StorageError):
            close_record(
                RunDirectory(self._job.run_folder), self._job.attempt, reason_for(cause), sentence_for(cause)
            )

    def _tracker_says(self, told: dict[str, Any]) -> None:
        if self._recorder.state.reason is None:  # once it is over nothing is recorded
            facts = {"tracker": told["tracker"]}
            self._recorder.event(EventKind(told["kind"]), told["message"], **facts)

    def _leave(self) -> None:
        ray.get_runtime_context().current_actor.leave.remote()

    def _tell(self, happening: Happening) -> None:
        if self._worker_group is None:
            self._unheard.append(happening)
        else:
            self._worker_group.tell(happening)

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
        for happening in self._unheard:
            self._worker_group.tell(happening)

    def _register_checkpoint(self, report: TrainingReport) -> None:
        """Tell Ray's books of the newest checkpoint, and of no other: which ones are kept is not theirs."""
        if self._job.spec.checkpoint.location is not None:
            return  # they are about what lies in the run directory
        books = self._checkpoint_manager
        for result in list(books._checkpoint_results):
            books._checkpoint_results.remove(result)
            books._checkpoint_to_report_index.pop(result.checkpoint, None)
        with suppress(OSError):  # nothing hangs on them: a full disk is no reason to end
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
        facts = {"parameters_sha256": end.result.parameters_sha256} if end.result else {}
        status = self._recorder.end(end.reason, end.message, **facts)
        self._return_value = end.result
        obeyed = status in (RunStatus.CANCELLED, RunStatus.PAUSED) or end.reason is EndReason.PREEMPTED
        if status is RunStatus.SUCCEEDED or obeyed:
            return ShuttingDownState(next_state=FinishedState())
        error = AttemptFailed(end.reason, end.message, end.traceback)
        return ShuttingDownState(next_state=ErroredState(training_failed_error=error))
