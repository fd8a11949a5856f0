"""The elastic worker group: survivors never restart.

What happens (a worker is placed, warm, over, lost; something is reported or wished) goes through one queue
and is handled in turn; after each turn the roster says what is next: ask for workers, retire some, publish a
generation. Starting a worker is a task of its own that nobody waits for. Nothing here blocks the event loop.
"""

import asyncio
from typing import Final, assert_never

from orchestrator.domain.checkpoints import find_checkpoints
from orchestrator.domain.events import EventKind
from orchestrator.domain.membership import Roster, WorkerPhase
from orchestrator.domain.ray_names import slot_prefix
from orchestrator.domain.retry import FailureBudget, IncidentKind
from orchestrator.domain.status import EndReason
from trainers.elastic.job import WorkerJob
from trainers.elastic.messages import Finished, Outcome, Raised, Retired, WorkerProfile
from trainers.ray_train.bring_up import WorkerStarter
from trainers.ray_train.happenings import (
    End,
    GoOn,
    Happening,
    Lost,
    OfAWorker,
    Over,
    Placed,
    Reported,
    Started,
    StartOverdue,
    StillBroken,
    StopOverdue,
    StopRequested,
    TargetChanged,
    Verdict,
    Warm,
)
from trainers.ray_train.incidents import Incidents
from trainers.ray_train.internals import WorkerGroup
from trainers.ray_train.muster import Muster
from trainers.ray_train.reports import ReportDesk
from trainers.ray_train.slots import SlotPool
from trainers.ray_train.worker import ElasticWorker
from trainers.recorder import Recorder

_CAPACITY_HINT_AFTER_S: Final = 5.0
_LAST_ONES_WITHIN_S: Final = 3.0


class ElasticWorkerGroup(WorkerGroup):  # type: ignore[misc]
    """All workers of one attempt, across all its generations."""

    _worker_cls = ElasticWorker

    def join_run(self, job: WorkerJob, recorder: Recorder, desk: ReportDesk, target: int) -> None:
        """Tell the group which run it serves, and begin. Returns at once; workers come as the cluster grants
        them."""
        self._job = job
        self._recorder = recorder
        self._desk = desk
        self._roster = Roster(minimum=job.spec.workers.min, target=target)
        self._muster = Muster(self._roster, self._slot_pool(), self._starter())
        self._incidents = Incidents(FailureBudget(job.spec.retry, newest_step=recorder.step))
        self._inbox: asyncio.Queue[Happening] = asyncio.Queue()
        self._stopping: StopRequested | None = None
        self._finished: Finished | None = None
        self._later(_CAPACITY_HINT_AFTER_S, StartOverdue(_CAPACITY_HINT_AFTER_S))
        self._later(job.spec.retry.start_timeout, StartOverdue(job.spec.retry.start_timeout))
        if job.spec.stop.max_duration is not None:
            over = StopRequested(EndReason.DEADLINE_EXCEEDED, f"{job.spec.stop.max_duration:g} s are over")
            self._later(job.spec.stop.max_duration, over)
        self._muster.fill_up(0.0)

    def __bool__(self) -> bool:
        """Ray's controller asks whether there is a group, not how many are in it."""
        return True

    def tell(self, happening: Happening) -> None:
        self._inbox.put_nowait(happening)

    async def turn(self) -> Verdict:
        """Wait for the next happening, handle it, and do what the roster finds to be next."""
        verdict = self._handle(await self._inbox.get())
        ending = self._finished is not None or self._stopping is not None
        if ending and not self._roster.workers(WorkerPhase.ACTIVE):
            verdict = self._end() or verdict
        if isinstance(verdict, End):
            return verdict
        if not ending:
            self._muster.fill_up(self._incidents.back_off_s)
        generation = self._roster.next_generation()
        if generation is not None:
            checkpoints = find_checkpoints(self._job.run_folder / "checkpoints")
            self._muster.publish(generation, self._recorder.step, checkpoints)
        return verdict

    def shutdown(self) -> None:
        """End every worker and give everything back. Safe to call twice."""
        self._muster.close()
        self._clear_state()

    abort = shutdown

    def _start(self) -> None:
        """Ray starts the whole group here and waits for it; ours begins with `join_run` and waits for
        nobody."""

    # what happened

    def _handle(self, happening: Happening) -> Verdict:
        match happening:
            case Placed() | Started() | Warm() | Over() | Lost():
                return self._of_a_worker(happening)
            case Reported(report):
                self._desk.take(report, self._roster.generation, self._incidents.budget, self._later)
            case StillBroken():
                return self._on_broken(happening)
            case TargetChanged(target, minimum):
                self._roster.target, self._roster.minimum = target, minimum
            case StopRequested():
                self._on_stop(happening)
            case StopOverdue():
                return self._end() or GoOn()
            case StartOverdue(waited_s):
                return self._on_start_overdue(waited_s)
            case _:
                assert_never(happening)
        return GoOn()

    def _of_a_worker(self, happening: OfAWorker) -> Verdict:
        if self._roster.phase(happening.worker_id) is None and not isinstance(happening, Placed):
            return GoOn()  # it was let go meanwhile
        match happening:
            case Placed():
                self._muster.placed(happening)
            case Started():
                self._on_started(happening)
            case Warm(profile):
                self._on_warm(profile)
            case Over(worker_id, outcome):
                return self._on_over(worker_id, outcome)
            case Lost(worker_id, cause):
                return self._on_lost(worker_id, cause)
            case _:
                assert_never(happening)
        return GoOn()

    def _on_started(self, started: Started) -> None:
        where = started.where
        self._recorder.event(
            EventKind.WORKER_STARTED,
            f"worker {started.worker_id} starts on {where.hostname}",
            worker=started.worker_id,
            pid=where.pid,
            node_id=where.node_id,
        )

    def _on_warm(self, profile: WorkerProfile) -> None:
        worker_id = profile.worker_id
        differs = self._muster.warm(profile)
        if differs:
            self._incidents.failed_starts += 1
            self._recorder.event(
                EventKind.WORKER_REFUSED,
                f"worker {worker_id} was refused: its {', '.join(differs)} differ from the group's, "
                "so its bits would too",
                worker=worker_id,
                fingerprint=dict(profile.fingerprint),
            )
            return
        self._incidents.failed_starts = 0
        self._recorder.plan(profile.rows, profile.num_steps)
        self._recorder.event(
            EventKind.WORKER_WARM,
            f"worker {worker_id} is ready to train",
            worker=worker_id,
            pid=profile.pid,
            fingerprint=dict(profile.fingerprint),
        )

    def _on_over(self, worker_id: str, outcome: Outcome) -> Verdict:
        generation = self._muster.leave(worker_id)
        match outcome:
            case Raised():
                self._recorder.event(
                    EventKind.USER_ERROR,
                    f"worker {worker_id} raised {outcome.error}",
                    worker=worker_id,
                    step=outcome.step,
                    traceback=outcome.traceback,
                )
                return self._incidents.raised(outcome, generation)
            case Finished():
                self._finished = self._finished or outcome
                self._later(_LAST_ONES_WITHIN_S, StopOverdue())
            case Retired():
                self._recorder.event(EventKind.WORKER_RETIRED, f"worker {worker_id} left", worker=worker_id)
            case _:
                assert_never(outcome)
        return GoOn()

    def _on_lost(self, worker_id: str, cause: str) -> Verdict:
        phase = self._roster.phase(worker_id)
        step = self._recorder.step
        message = f"worker {worker_id} was lost: {cause}"
        self._recorder.event(EventKind.WORKER_LOST, message, worker=worker_id, phase=str(phase), step=step)
        generation = self._muster.leave(worker_id)
        if phase is WorkerPhase.RETIRING:
            return GoOn()  # it was leaving anyway
        if generation is not None:
            self._recorder.phase("recovering")
        return self._incidents.lost(IncidentKind.INFRASTRUCTURE, step, message, generation)

    def _on_broken(self, broken: StillBroken) -> Verdict:
        number = self._roster.generation.number
        if broken.generation != number:
            return GoOn()
        for worker_id in broken.absent:
            message = f"worker {worker_id} hangs and is ended"
            self._recorder.event(EventKind.WORKER_HUNG, message, worker=worker_id)
            self._muster.leave(worker_id)
        self._roster.broken(number)
        return self._incidents.lost(IncidentKind.INFRASTRUCTURE, self._recorder.step, broken.reason, number)

    def _on_stop(self, wish: StopRequested) -> None:
        if self._stopping is not None:
            return
        self._stopping = wish
        self._recorder.event(EventKind.STOP_REQUESTED, wish.message, reason=str(wish.reason))
        self._muster.ask_to_stop()
        self._later(self._job.spec.stop.grace, StopOverdue())

    def _on_start_overdue(self, waited_s: float) -> Verdict:
        if self._roster.generation.number > 0:
            return GoOn()
        placed, minimum = self._muster.num_placed, self._roster.minimum
        each = self._worker_group_context.resources_per_worker
        message = (
            f"{placed} of {minimum} workers have a place after {waited_s:.0f} s; each needs {each}, which "
            "others hold or the cluster has not"
        )
        if waited_s >= self._job.spec.retry.start_timeout:
            return End(EndReason.NO_CAPACITY, message)
        if placed < minimum:
            self._recorder.event(EventKind.WAITING_FOR_CAPACITY, message)
            self._recorder.phase("waiting for capacity")
        return GoOn()

    # what follows

    def _end(self) -> End | None:
        if self._finished is not None and not self._finished.stopped:
            return End(EndReason.FINISHED, "", self._finished)
        if self._stopping is not None:
            return End(self._stopping.reason, self._stopping.message, self._finished)
        return None

    def _slot_pool(self) -> SlotPool:
        context = self._worker_group_context
        slots = SlotPool(
            slot_prefix(self._job.spec.name),
            context.resources_per_worker,
            context.placement_strategy,
            self._job.spec.resources.labels,
        )
        if self._job.spec.data.cpus:
            slots.reserve_feed(self._job.spec.data.cpus)
        if not self._job.detached:  # else the service grants it, and single places can be given back
            slots.add_gang(self._job.spec.workers.min)
        return slots

    def _starter(self) -> WorkerStarter:
        return WorkerStarter(
            worker_cls=self._worker_cls,
            group=self._worker_group_context,
            runtime_env=self._get_worker_runtime_env(
                custom_runtime_env=self._train_run_context.run_config.worker_runtime_env
            ),
            train_context={
                "train_run_context": self._train_run_context,
                "storage_context": self._storage_context,
                "worker_callbacks": self._worker_callbacks_to_propagate,
            },
            tell=self.tell,
        )

    def _later(self, delay_s: float, happening: Happening) -> None:
        asyncio.get_running_loop().call_later(delay_s, self.tell, happening)
