"""The elastic worker group: survivors never restart.

What happens (a worker is placed, warm, over, lost; something is reported or wished) goes through one queue and is
handled in turn; after each turn the roster says what is next: ask for workers, retire some, publish a generation.
Starting a worker is a task of its own that nobody waits for. Nothing here blocks the event loop.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, assert_never

import ray
from ray.actor import ActorHandle

from orchestrator.domain.checkpoints import find_checkpoints
from orchestrator.domain.events import EventKind
from orchestrator.domain.membership import Generation, Roster, WorkerPhase
from orchestrator.domain.retry import FailureBudget, IncidentKind
from orchestrator.domain.status import EndReason
from trainers.elastic.job import WorkerJob
from trainers.elastic.messages import Finished, Offer, Outcome, Raised, WorkerProfile
from trainers.ray_train.bring_up import Start, bring_up
from trainers.ray_train.happenings import (
    End,
    GoOn,
    Happening,
    Lost,
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
from trainers.ray_train.reports import ReportDesk
from trainers.ray_train.slots import Slot, SlotPool
from trainers.ray_train.worker import ElasticWorker
from trainers.recorder import Recorder

_CAPACITY_HINT_AFTER_S: Final = 5.0
_LAST_ONES_WITHIN_S: Final = 3.0


class ElasticWorkerGroup(WorkerGroup):  # type: ignore[misc]
    """All workers of one attempt, across all its generations."""

    _worker_cls = ElasticWorker

    def join_run(self, job: WorkerJob, recorder: Recorder, desk: ReportDesk, target: int) -> None:
        """Tell the group which run it serves, and begin. Returns at once; workers come as the cluster grants them."""
        context = self._worker_group_context
        self._job = job
        self._recorder = recorder
        self._desk = desk
        self._roster = Roster(minimum=job.spec.workers.min, target=target)
        self._incidents = Incidents(FailureBudget(job.spec.retry, newest_step=recorder.step))
        self._slots = SlotPool(
            slot_prefix(job.spec.name),
            context.resources_per_worker,
            context.placement_strategy,
            job.spec.resources.labels,
        )
        self._slots.add_gang(job.spec.workers.min)
        self._inbox: asyncio.Queue[Happening] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._actors: dict[str, ActorHandle[Any]] = {}
        self._placed: dict[str, Slot] = {}
        self._profiles: dict[str, WorkerProfile] = {}
        self._num_started = 0
        self._stopping: StopRequested | None = None
        self._finished: Finished | None = None
        self._later(_CAPACITY_HINT_AFTER_S, StartOverdue(_CAPACITY_HINT_AFTER_S))
        self._later(job.spec.retry.start_timeout, StartOverdue(job.spec.retry.start_timeout))
        self._ask_for_workers()

    def __bool__(self) -> bool:
        """Ray's controller asks whether there is a group, not how many are in it."""
        return True

    def tell(self, happening: Happening) -> None:
        self._inbox.put_nowait(happening)

    async def turn(self) -> Verdict:
        """Wait for the next happening, handle it, and do what the roster finds to be next."""
        verdict = self._handle(await self._inbox.get())
        if self._finished or self._stopping:
            verdict = self._wind_down() or verdict
        if isinstance(verdict, End):
            return verdict
        if not self._finished and not self._stopping:
            self._ask_for_workers()
            self._retire_surplus()
        generation = self._roster.next_generation()
        if generation is not None:
            self._publish(generation)
        return GoOn()

    def shutdown(self) -> None:
        """End every worker and give everything back. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()
        self._slots.close()
        self._clear_state()

    abort = shutdown

    def _start(self) -> None:
        """Ray starts the whole group here and waits for it; ours begins with `join_run` and waits for nobody."""

    # what happened

    def _handle(self, happening: Happening) -> Verdict:
        match happening:
            case Placed():
                self._on_placed(happening)
            case Started():
                self._on_started(happening)
            case Warm(profile):
                self._on_warm(profile)
            case Over(worker_id, outcome):
                return self._on_over(worker_id, outcome)
            case Lost(worker_id, cause):
                return self._on_lost(worker_id, cause)
            case Reported(report):
                self._desk.take(report, self._roster.generation, self._incidents.budget, self._later)
            case StillBroken():
                return self._on_broken(happening)
            case TargetChanged(target):
                self._roster.target = target
            case StopRequested():
                self._on_stop(happening)
            case StopOverdue():
                return self._end() or GoOn()
            case StartOverdue(waited_s):
                return self._on_start_overdue(waited_s)
            case _:
                assert_never(happening)
        return GoOn()

    def _on_placed(self, placed: Placed) -> None:
        self._actors[placed.worker_id] = placed.actor
        self._placed[placed.worker_id] = placed.slot
        if self._roster.phase(placed.worker_id) is None:  # no longer wanted
            self._leave(placed.worker_id)
        else:
            self._roster.starting(placed.worker_id)

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
        if self._roster.phase(worker_id) is None:
            return
        known = next(iter(self._profiles.values()), profile)
        if profile.fingerprint != known.fingerprint:
            self._refuse(profile, known)
            return
        self._incidents.failed_starts = 0
        self._profiles[worker_id] = profile
        self._recorder.plan(profile.rows, profile.num_steps)
        self._roster.warm(worker_id)
        self._recorder.event(
            EventKind.WORKER_WARM, f"worker {worker_id} is ready to train", worker=worker_id, pid=profile.pid
        )

    def _refuse(self, profile: WorkerProfile, known: WorkerProfile) -> None:
        self._leave(profile.worker_id)
        self._incidents.failed_starts += 1
        differs = sorted(k for k, v in profile.fingerprint.items() if known.fingerprint.get(k) != v)
        self._recorder.event(
            EventKind.WORKER_REFUSED,
            f"worker {profile.worker_id} was refused: its {', '.join(differs)} differ from the group's, "
            "so its bits would too",
            worker=profile.worker_id,
            fingerprint=dict(profile.fingerprint),
        )

    def _on_over(self, worker_id: str, outcome: Outcome) -> Verdict:
        phase = self._roster.phase(worker_id)
        if phase is None:
            return GoOn()
        generation = self._leave(worker_id)
        if isinstance(outcome, Raised):
            self._recorder.event(
                EventKind.USER_ERROR,
                f"worker {worker_id} raised {outcome.error}",
                worker=worker_id,
                step=outcome.step,
                traceback=outcome.traceback,
            )
            return self._incidents.raised(outcome, generation)
        if isinstance(outcome, Finished):
            self._finished = self._finished or outcome
            self._later(_LAST_ONES_WITHIN_S, StopOverdue())
        else:
            self._recorder.event(EventKind.WORKER_RETIRED, f"worker {worker_id} left", worker=worker_id)
        return GoOn()

    def _on_lost(self, worker_id: str, cause: str) -> Verdict:
        phase = self._roster.phase(worker_id)
        if phase is None:
            return GoOn()
        step = self._recorder.step
        message = f"worker {worker_id} was lost: {cause}"
        self._recorder.event(
            EventKind.WORKER_LOST, message, worker=worker_id, phase=str(phase), step=step
        )
        generation = self._leave(worker_id)
        if generation is not None:
            self._recorder.phase("recovering")
        return self._incidents.lost(IncidentKind.INFRASTRUCTURE, step, message, generation)

    def _on_broken(self, broken: StillBroken) -> Verdict:
        number = self._roster.generation.number
        if broken.generation != number:
            return GoOn()
        for worker_id in broken.absent:
            self._recorder.event(
                EventKind.WORKER_HUNG, f"worker {worker_id} hangs and is ended", worker=worker_id
            )
            self._leave(worker_id)
        self._roster.broken(number)
        return self._incidents.lost(IncidentKind.INFRASTRUCTURE, self._recorder.step, broken.reason, number)

    def _on_stop(self, wish: StopRequested) -> None:
        if self._stopping is not None:
            return
        self._stopping = wish
        self._recorder.event(EventKind.STOP_REQUESTED, wish.message, reason=str(wish.reason))
        for actor in self._actors.values():
            actor.request_stop.remote()
        self._later(self._job.spec.stop.grace, StopOverdue())

    def _on_start_overdue(self, waited_s: float) -> Verdict:
        if self._roster.generation.number > 0:
            return GoOn()
        ready = len(self._placed)
        wanted = f"{self._roster.minimum} workers of {self._worker_group_context.resources_per_worker}"
        message = f"{ready} workers have a place after {waited_s:.0f} s, the run needs {wanted}"
        if waited_s >= self._job.spec.retry.start_timeout:
            return End(EndReason.NO_CAPACITY, message)
        if ready < self._roster.minimum:
            self._recorder.event(EventKind.WAITING_FOR_CAPACITY, message)
            self._recorder.phase("waiting for capacity")
        return GoOn()

    # what follows

    def _wind_down(self) -> End | None:
        """Over as soon as every member has said so."""
        return None if self._roster.workers(WorkerPhase.ACTIVE) else self._end()

    def _end(self) -> End | None:
        if self._finished is not None and not self._finished.stopped:
            return End(EndReason.FINISHED, "", self._finished)
        if self._stopping is not None:
            return End(self._stopping.reason, self._stopping.message, self._finished)
        return None

    def _ask_for_workers(self) -> None:
        for _ in range(self._roster.missing()):
            self._num_started += 1
            worker_id = f"w{self._num_started}"
            self._roster.requested(worker_id)
            start = Start(
                worker_id,
                self._slots,
                self._worker_cls,
                self._worker_group_context,
                self._incidents.back_off_s,
            )
            self._spawn(bring_up(start, self._start_arguments(), self.tell))
        if self._roster.missing() == 0 and not self._roster.workers(WorkerPhase.REQUESTED):
            self._slots.release_unused()

    def _start_arguments(self) -> dict[str, Any]:
        return {
            "runtime_env": self._get_worker_runtime_env(
                custom_runtime_env=self._train_run_context.run_config.worker_runtime_env
            ),
            "train_run_context": self._train_run_context,
            "storage_context": self._storage_context,
            "worker_callbacks": self._worker_callbacks_to_propagate,
        }

    def _retire_surplus(self) -> None:
        for worker_id in self._roster.surplus():
            if self._roster.phase(worker_id) is WorkerPhase.ACTIVE:
                self._roster.retire(worker_id)
            else:
                self._leave(worker_id)

    def _publish(self, generation: Generation) -> None:
        first = self._profiles[generation.members[0]]
        offer = Offer(
            generation=generation.number,
            members=generation.members,
            nodes=tuple(self._profiles[worker].node_id for worker in generation.members),
            store_host=first.store_host,
            store_port=first.store_port,
            recorded_step=self._recorder.step,
            checkpoints=tuple(str(path) for path in find_checkpoints(self._job.run_folder / "checkpoints")),
        )
        for worker in self._roster.workers(WorkerPhase.ACTIVE, WorkerPhase.RETIRING):
            self._actors[worker].offer.remote(offer)

    def _leave(self, worker_id: str) -> int | None:
        """End a worker and forget it; the number of the newest generation if it was a member."""
        was_member = self._roster.gone(worker_id)
        self._profiles.pop(worker_id, None)
        actor = self._actors.pop(worker_id, None)
        if actor is not None:
            ray.kill(actor)
        slot = self._placed.pop(worker_id, None)
        if slot is not None:
            self._slots.give_back(slot)
        return self._roster.generation.number if was_member else None

    def _later(self, delay_s: float, happening: Happening) -> None:
        asyncio.get_running_loop().call_later(delay_s, self.tell, happening)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def slot_prefix(run: str) -> str:
    """How the names of all placement groups of a run begin."""
    return f"tumbler:{run}:"
