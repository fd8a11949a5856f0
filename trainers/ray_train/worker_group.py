"""The elastic worker group: survivors never restart.

What happens (a worker is placed, warm, over, lost; something is reported or wished) goes through one queue
and is handled in turn; after each turn the roster says what is next: ask for workers, retire some, publish a
generation. Starting a worker is a task of its own that nobody waits for. Nothing here blocks the event loop.
"""

import asyncio
import time
from typing import Final, assert_never

from orchestrator.domain.events import EventKind
from orchestrator.domain.membership import Roster, WorkerPhase
from orchestrator.domain.retry import FailureBudget, IncidentKind
from orchestrator.domain.status import EndReason
from trainers.elastic.faults import Fault
from trainers.elastic.job import WorkerJob
from trainers.elastic.messages import Finished, Formed, Outcome, Raised, Report, Retired
from trainers.ray_train.admission import Admission
from trainers.ray_train.beginning import Beginning
from trainers.ray_train.bring_up import starter_of
from trainers.ray_train.commits import CommitDesk
from trainers.ray_train.farewells import Farewells
from trainers.ray_train.feed_keeper import FeedKeeper
from trainers.ray_train.guards import Guards
from trainers.ray_train.happenings import (
    Answered,
    CheckpointCommitted,
    CheckpointWanted,
    CommitFailed,
    End,
    GoOn,
    Happening,
    Look,
    Lost,
    NodesDrain,
    NodesOrdered,
    OfAWorker,
    OfTheFeed,
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
    WorkersOrdered,
)
from trainers.ray_train.inbox import Inbox
from trainers.ray_train.incidents import Incidents
from trainers.ray_train.internals import WorkerGroup
from trainers.ray_train.muster import Muster
from trainers.ray_train.node_watch import NodeWatch
from trainers.ray_train.reports import ReportDesk
from trainers.ray_train.slots import slot_pool
from trainers.ray_train.worker import ElasticWorker
from trainers.recorder import Recorder

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
        self._roster = Roster(job.spec.workers.min, target, most=job.spec.train.logical_shards)
        slots = slot_pool(job, self._worker_group_context)
        starter = starter_of(self, self._worker_group_context, self.tell)
        self._muster = Muster(self._roster, slots, starter, recorder.event)
        self._feed = FeedKeeper(job, recorder, slots, self.tell)
        self._commits = CommitDesk(job, desk, self._muster.wish, self.tell)
        self._incidents = Incidents(FailureBudget(job.spec.retry, newest_step=recorder.step))
        self._guards = Guards(job.spec.retry, recorder, self._muster, self._incidents, self.tell)
        self._admission = Admission(job, recorder, self._muster, self._incidents)
        self._farewells = Farewells(job.spec.stop.grace, recorder, self._muster)
        self._node_watch = NodeWatch(self.tell)
        each = self._worker_group_context.resources_per_worker
        self._beginning = Beginning(job, recorder, self._muster, self._feed, each, self._later)
        self._inbox = Inbox()
        self._stopping: StopRequested | None = None
        self._finished: Finished | None = None
        if job.spec.stop.max_duration is not None:
            over = StopRequested(EndReason.DEADLINE_EXCEEDED, f"{job.spec.stop.max_duration:g} s are over")
            self._later(job.spec.stop.max_duration, over)
        self._beginning.begin()
        self._guards.begin()
        self._feed.begin()
        self._node_watch.begin()
        self._fill_up()

    def __bool__(self) -> bool:
        """Ray's controller asks whether there is a group, not how many are in it."""
        return True

    def tell(self, happening: Happening) -> None:
        self._inbox.put(happening)

    async def turn(self) -> Verdict:
        """Wait for the next happening, handle it, and do what the roster finds to be next."""
        verdict = self._handle(await self._inbox.get())
        ending = self._finished is not None or self._stopping is not None
        if ending and not self._roster.workers(WorkerPhase.ACTIVE) and not self._commits.busy:
            verdict = self._end() or verdict
        if isinstance(verdict, End):
            return verdict
        if not ending:
            self._farewells.settle()
            self._fill_up()
        generation = None if self._between_groups else self._roster.next_generation()
        if generation is not None:
            self._guards.publish(generation, self._commits.committed)
        return verdict

    def inject(self, worker_id: str, fault: Fault) -> None:
        self._muster.inject(worker_id, fault)

    def shutdown(self) -> None:
        """End every worker and give everything back. Safe to call twice."""
        self._node_watch.close()
        self._feed.close()
        self._muster.close()
        self._clear_state()

    abort = shutdown

    def _start(self) -> None:
        """Ray starts the whole group here and waits for it; ours begins with `join_run`."""

    # what happened

    def _handle(self, happening: Happening) -> Verdict:
        if isinstance(happening, OfTheFeed):
            return self._feed.handle(happening)
        match happening:
            case Placed() | Started() | Warm() | Over() | Lost():
                return self._of_a_worker(happening)
            case Reported() | CheckpointCommitted() | CommitFailed():
                return self._on_news(happening)
            case Answered() | Look() | StillBroken():
                return self._guards.handle(happening)
            case TargetChanged() | CheckpointWanted() | StopRequested():
                self._on_wish(happening)
            case NodesDrain() | NodesOrdered() | WorkersOrdered():
                self._farewells.handle(happening)
            case StopOverdue():
                return self._end() or GoOn()
            case StartOverdue(waited_s):
                return self._beginning.overdue(waited_s)
            case _:
                assert_never(happening)
        return GoOn()

    def _of_a_worker(self, happening: OfAWorker) -> Verdict:
        if self._roster.phase(happening.worker_id) is None and not isinstance(happening, Placed):
            return GoOn()  # it was let go meanwhile
        match happening:
            case Placed():
                self._muster.placed(happening)
                if self._roster.phase(happening.worker_id) is not None:
                    self._guards.vigil.starting(happening.worker_id, time.monotonic())
            case Started():
                self._on_started(happening)
            case Warm(profile):
                self._guards.vigil.warm(profile.worker_id, time.monotonic())
                return self._admission.of(profile)
            case Over(worker_id, _, outcome):
                return self._on_over(worker_id, outcome)
            case Lost(worker_id, cause):
                return self._on_lost(worker_id, cause)
            case _:
                assert_never(happening)
        return GoOn()

    def _on_started(self, started: Started) -> None:
        where = started.where
        self._muster.started(started.worker_id, where.node_id)
        self._recorder.event(
            EventKind.WORKER_STARTED,
            f"worker {started.worker_id} starts on {where.hostname}",
            worker=started.worker_id,
            pid=where.pid,
            node_id=where.node_id,
            node_ip=where.node_ip,
            actor_id=started.actor_id,
            gpu_ids=[int(device) for device in where.gpu_ids],
        )
        if self._farewells.turned_away(started.worker_id):
            self._guards.vigil.gone(started.worker_id)

    def _on_news(self, news: Reported | CheckpointCommitted | CommitFailed) -> Verdict:
        if isinstance(news, Reported):
            return self._on_report(news.report)
        return self._commits.handle(news)

    def _on_report(self, report: Report) -> Verdict:
        if report.worker_id in self._guards.evicted:
            return GoOn()  # it woke after all
        if isinstance(report, Formed):
            self._roster.formed(report.generation)
        self._commits.hear(report)
        self._desk.take(report, self._roster.generation, self._incidents.budget, self._later)
        return self._guards.hear(report)

    def _on_over(self, worker_id: str, outcome: Outcome) -> Verdict:
        self._guards.vigil.gone(worker_id)
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
                if outcome.saved is not None:
                    self._commits.take(outcome.saved)  # its report may still be on the way
                if self._farewells.parting and outcome.stopped and self._stopping is None:
                    message = f"worker {worker_id} left, with the rest of its group"
                    self._recorder.event(EventKind.WORKER_RETIRED, message, worker=worker_id)
                    return GoOn()
                self._finished = self._finished or outcome
                self._later(_LAST_ONES_WITHIN_S, StopOverdue())
            case Retired():
                self._recorder.event(EventKind.WORKER_RETIRED, f"worker {worker_id} left", worker=worker_id)
            case _:
                assert_never(outcome)
        return GoOn()

    def _on_lost(self, worker_id: str, cause: str) -> Verdict:
        self._guards.vigil.gone(worker_id)
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

    def _on_wish(self, wish: TargetChanged | CheckpointWanted | StopRequested) -> None:
        match wish:
            case TargetChanged(target, minimum):
                self._roster.target, self._roster.minimum = target, minimum
            case CheckpointWanted(number):
                self._muster.want_checkpoint(number)
            case StopRequested():
                self._on_stop(wish)
            case _:
                assert_never(wish)

    def _on_stop(self, wish: StopRequested) -> None:
        if self._stopping is not None:
            return
        self._stopping = wish
        self._recorder.event(EventKind.STOP_REQUESTED, wish.message, reason=str(wish.reason))
        self._muster.ask_to_stop()
        self._later(self._job.spec.stop.grace, StopOverdue())

    # what follows

    @property
    def _between_groups(self) -> bool:
        """A whole group leaves, or what it saved is not committed yet: the next one begins from that."""
        nobody_trains = not self._roster.workers(WorkerPhase.ACTIVE)
        return self._farewells.parting or (nobody_trains and self._commits.busy)

    def _fill_up(self) -> None:
        if self._feed.lets_workers_in:
            self._muster.fill_up(self._incidents.back_off_s)

    def _end(self) -> End | None:
        if self._finished is not None and not self._finished.stopped:
            lack = self._commits.lack_of(self._finished.step)
            return End(EndReason.STORAGE_FAILED if lack else EndReason.FINISHED, lack, self._finished)
        if self._stopping is not None:
            return End(self._stopping.reason, self._stopping.message, self._finished)
        return None

    def _later(self, delay_s: float, happening: Happening) -> None:
        asyncio.get_running_loop().call_later(delay_s, self.tell, happening)
