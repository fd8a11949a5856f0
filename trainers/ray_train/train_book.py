"""What Ray's Train tab is to show of an attempt, made from the events that go on record.

To Ray an attempt of ours is a run, for it has a controller of its own, and each generation is an attempt of
that run. Pure: nothing here asks Ray for anything.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from orchestrator.domain.events import EventKind
from orchestrator.domain.status import EndReason, RunStatus
from trainers.ray_train.internals import train_schema as theirs

MOST_GENERATIONS: Final = 100
"""The newest ones of an attempt are kept, older ones are dropped."""
_BREAKS_A_GENERATION: Final = frozenset(
    {
        EventKind.WORKER_LOST,
        EventKind.WORKER_HUNG,
        EventKind.USER_ERROR,
        EventKind.REPLICA_CORRUPTED,
        EventKind.REPLICAS_DIFFER,
        EventKind.ROLLED_BACK,
    }
)


class TrainBook:
    """Ray's records of one attempt of ours; what changed since they were last sent is in `take_changes`."""

    def __init__(self, run: theirs.TrainRun, resources: Mapping[str, float]) -> None:
        """`run` is as Ray describes one that begins; `resources` are what one worker claims."""
        self.run = run
        self.generations: list[theirs.TrainRunAttempt] = []
        """The newest ones, oldest first."""
        self._resources = theirs.TrainResources(resources=dict(resources))
        self._started: dict[str, Mapping[str, Any]] = {}
        """Worker id -> the event of its start."""
        self._gone: set[str] = set()
        self._members: dict[str, tuple[str, ...]] = {}
        """Generation, by its id there -> its workers, by rank."""
        self._changed: set[str] = {run.id}

    @property
    def size(self) -> int:
        """How many records there are."""
        return 1 + len(self.generations)

    def hear(self, event: Mapping[str, Any]) -> None:
        """An event went on record."""
        kind = EventKind(event["kind"])
        if kind in _BREAKS_A_GENERATION and self._is_felt(event):
            self._broken(event)
        match kind:
            case EventKind.WORKER_STARTED:
                self._started[event["worker"]] = event
            case EventKind.WORKER_GONE:
                self._on_gone(event["worker"])
            case EventKind.GENERATION_STARTED:
                self._on_generation(event)
            case EventKind.RUN_ENDED:
                status = ending(RunStatus(event["status"]), EndReason(event["reason"]))
                self.end(status, event["message"], _nanoseconds(event))

    def end(self, status: theirs.RunStatus, message: str, time_ns: int) -> None:
        """The attempt is over, and so are its workers; a second time does nothing."""
        if self.run.status.is_terminal():
            return
        detail = "" if status is theirs.RunStatus.FINISHED else message
        self._end_generation(theirs.RunAttemptStatus(status.value), detail, time_ns)
        self._gone |= set(self._started)
        self._show_workers()
        self._show_run(status, detail, end_time_ns=time_ns)

    def take_changes(self) -> list[theirs.TrainRun | theirs.TrainRunAttempt]:
        """The records that are not as they were when this was last asked for."""
        found = [each for each in self.generations if each.attempt_id in self._changed]
        own = [self.run] if self.run.id in self._changed else []
        self._changed.clear()
        return [*own, *found]

    def all_changed(self) -> None:
        """Whoever was told has forgotten it."""
        self._changed = {self.run.id, *(each.attempt_id for each in self.generations)}

    # what happened

    def _is_felt(self, event: Mapping[str, Any]) -> bool:
        """Whether the generation that trains ends by this: it is no newcomer's, and nobody's who leaves."""
        if not self.generations:
            return False
        members = self._members[self.generations[-1].attempt_id]
        lost_otherwise = event["kind"] == EventKind.WORKER_LOST and event["phase"] != "active"
        return event.get("worker") in (None, *members) and not lost_otherwise

    def _broken(self, event: Mapping[str, Any]) -> None:
        self._end_generation(theirs.RunAttemptStatus.ERRORED, event["message"], _nanoseconds(event))
        self._show_run(theirs.RunStatus.RESTARTING, event["message"])

    def _on_gone(self, worker_id: str) -> None:
        self._gone.add(worker_id)
        self._show_workers()

    def _on_generation(self, event: Mapping[str, Any]) -> None:
        time_ns, workers = _nanoseconds(event), tuple(event["workers"])
        self._end_generation(theirs.RunAttemptStatus.FINISHED, "", time_ns)
        generation = theirs.TrainRunAttempt(
            run_id=self.run.id,
            attempt_id=f"{self.run.id}-g{event['generation']}",
            status=theirs.RunAttemptStatus.RUNNING,
            start_time_ns=time_ns,
            resources=[self._resources] * len(workers),
            workers=[],
        )
        self.generations.append(generation)
        self._members[generation.attempt_id] = workers
        for dropped in self.generations[:-MOST_GENERATIONS]:
            del self._members[dropped.attempt_id]
        self.generations = self.generations[-MOST_GENERATIONS:]
        self._show_workers()
        self._show_run(theirs.RunStatus.RUNNING)

    def _end_generation(self, status: theirs.RunAttemptStatus, detail: str, time_ns: int) -> None:
        if self.generations and not self.generations[-1].status.is_terminal():
            newest = self.generations[-1]
            newest.status, newest.status_detail, newest.end_time_ns = status, detail or None, time_ns
            self._changed.add(newest.attempt_id)

    # what is shown

    def _show_run(
        self, status: theirs.RunStatus, detail: str = "", *, end_time_ns: int | None = None
    ) -> None:
        self.run.status, self.run.status_detail, self.run.end_time_ns = status, detail or None, end_time_ns
        self._changed.add(self.run.id)

    def _show_workers(self) -> None:
        """A survivor lives on in all its generations, a lost one is dead in all of them."""
        for generation in self.generations:
            shown = self._workers(self._members[generation.attempt_id])
            if shown != generation.workers:
                generation.workers = shown
                self._changed.add(generation.attempt_id)

    def _workers(self, members: tuple[str, ...]) -> list[theirs.TrainWorker]:
        on_node: Counter[str] = Counter()
        shown = []
        for rank, worker_id in enumerate(members):
            started = self._started[worker_id]
            node_id = started["node_id"]
            dead = worker_id in self._gone
            on_node[node_id] += 1
            shown.append(
                theirs.TrainWorker(
                    world_rank=rank,
                    local_rank=on_node[node_id] - 1,
                    node_rank=list(on_node).index(node_id),
                    actor_id=started["actor_id"],
                    node_id=node_id,
                    node_ip=started["node_ip"],
                    pid=started["pid"],
                    gpu_ids=started["gpu_ids"],
                    status=theirs.ActorStatus.DEAD if dead else theirs.ActorStatus.ALIVE,
                    resources=self._resources,
                )
            )
        return shown


def ending(status: RunStatus, reason: EndReason) -> theirs.RunStatus:
    """What Ray calls the end of an attempt: aborted is what somebody wished, errored what nobody did."""
    if status is RunStatus.SUCCEEDED:
        return theirs.RunStatus.FINISHED
    if status in (RunStatus.PAUSED, RunStatus.CANCELLED) or reason is EndReason.PREEMPTED:
        return theirs.RunStatus.ABORTED
    return theirs.RunStatus.ERRORED


def _nanoseconds(event: Mapping[str, Any]) -> int:
    """Since 1970."""
    return round(datetime.fromisoformat(event["time"]).timestamp() * 1e3) * 1_000_000
