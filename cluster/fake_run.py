"""A run directory and an elastic controller in memory: they write what the real ones write, a turn a tick."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from orchestrator.domain.events import EventKind, event, timestamp
from orchestrator.domain.orders import Orders
from orchestrator.domain.run_directory import RunState
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import ENDINGS, EndReason, RunStatus

_ORPHAN_GRACE_S: Final = 60.0
Place = Callable[[Mapping[str, float], frozenset[str]], str | None]
"""Takes a bundle of resources; gives the id of the node that has them free."""


@dataclass
class FakeFolder:
    """What a run directory holds, as far as the service looks at it."""

    spec: RunSpec
    state: RunState
    last_beat: datetime
    events: list[dict[str, Any]] = field(default_factory=list)
    orders: Orders | None = None
    broken: bool = False
    """Its storage cannot be read or written."""

    def event(self, kind: EventKind, message: str, now: datetime, **facts: Any) -> None:
        happened = event(kind, message, now=now, attempt=self.state.attempt, **facts)
        self.events.append({"seq": len(self.events) + 1, **happened})

    def write(self, now: datetime, **changes: Any) -> None:
        self.state = self.state.model_copy(update={**changes, "updated": timestamp(now)})

    def begin(self, attempt: int, now: datetime) -> None:
        kept = self.state.model_dump(
            include={"run", "started", "step", "total_steps", "checkpoint", "parameters_sha256", "step_s"}
        )
        self.state = RunState(**kept, attempt=attempt, status=RunStatus.QUEUED, updated=timestamp(now))

    def conclude(self, reason: EndReason, message: str, now: datetime) -> None:
        status = ENDINGS[reason].status
        self.write(
            now,
            status=status,
            reason=reason,
            message=message,
            phase="",
            workers=0,
            ended=timestamp(now) if status.terminal else None,
        )
        self.event(
            EventKind.RUN_ENDED,
            f"the run ended: {reason}",
            now,
            status=str(status),
            reason=str(reason),
            step=self.state.step,
        )


@dataclass
class FakeController:
    """Trains as long as nobody says otherwise, with or without a driver."""

    folder: FakeFolder
    attempt: int
    born: datetime
    steps_per_tick: int
    heard_of: datetime
    """When a driver or the service was heard of last."""
    members: dict[str, str] = field(default_factory=dict)
    """Worker id -> node id, in the order they came."""
    feed_on: str | None = None
    deaf: bool = False
    """It does not obey a wish to stop."""
    alive: bool = True
    _heard: Orders | None = None
    _answered: int = 0
    """The newest wish for a checkpoint that it fulfilled."""
    _formed: tuple[str, ...] = ()
    _next_worker: int = 0

    @classmethod
    def start(cls, folder: FakeFolder, now: datetime, steps_per_tick: int) -> "FakeController":
        attempt = folder.state.attempt
        folder.write(now, status=RunStatus.STARTING, total_steps=folder.spec.train.steps or 100)
        kind = EventKind.RUN_RESUMED if attempt > 1 else EventKind.RUN_STARTED
        folder.event(kind, f"attempt {attempt} of {folder.spec.name} starts", now)
        return cls(folder, attempt, now, steps_per_tick, heard_of=now)

    @property
    def bundle(self) -> dict[str, float]:
        """What one worker claims."""
        resources = self.folder.spec.resources
        claim = {"CPU": resources.cpu, "GPU": resources.gpu, "memory": float(resources.memory or 0)}
        return {kind: much for kind, much in claim.items() if much}

    @property
    def feed(self) -> dict[str, float]:
        return {"CPU": self.folder.spec.data.cpus} if self.folder.spec.data.cpus else {}

    def turn(self, now: datetime, place: Place) -> None:
        if self.folder.state.attempt != self.attempt:
            self.alive = False  # superseded: what it writes is refused, and that ends it
            return
        self.heard_of = max(self.heard_of, self.folder.last_beat)
        orders = self._orders()
        if orders is not None and orders.stop is not None and not self.deaf:
            self.stop(orders.stop, orders.stop_message, now)
        elif (now - self.heard_of).total_seconds() > _ORPHAN_GRACE_S:
            self._end(EndReason.ORPHANED, "neither driver nor service was heard of", now)
        else:
            self._train(now, orders, place)

    def stop(self, reason: EndReason, message: str, now: datetime) -> None:
        """Leave with a last checkpoint."""
        self.folder.event(EventKind.STOP_REQUESTED, message, now, reason=str(reason))
        if self._formed:
            self._checkpoint(now)
        self._end(reason, message, now)

    def raise_user_error(self, now: datetime) -> None:
        message = "ValueError: the loss of your code"
        self.folder.event(
            EventKind.USER_ERROR, message, now, worker=next(iter(self.members), None), step=self._step
        )
        self._end(EndReason.USER_ERROR, message, now)

    def finish(self, now: datetime) -> None:
        self.folder.write(now, step=self.folder.state.total_steps)
        self._checkpoint(now)
        self._end(EndReason.FINISHED, "", now)

    def lose_node(self, node_id: str, now: datetime) -> None:
        lost = [worker for worker, node in self.members.items() if node == node_id]
        for worker in lost:
            del self.members[worker]
            message = f"worker {worker} was lost: its node died"
            self.folder.event(EventKind.WORKER_LOST, message, now, worker=worker, step=self._step)
        if self.feed_on == node_id:
            self.feed_on = None
        if lost and self._formed and not self.members:
            self._end(EndReason.WORKER_LOST, "no worker is left", now)

    @property
    def _step(self) -> int:
        return self.folder.state.step

    def _orders(self) -> Orders | None:
        """The newest that were for this attempt."""
        orders = self.folder.orders
        if orders is not None and orders.attempt == self.attempt:
            self._heard = orders
        return self._heard

    def _train(self, now: datetime, orders: Orders | None, place: Place) -> None:
        minimum = orders.workers_min if orders else self.folder.spec.workers.min
        if orders is not None:
            self._let_go(now, orders)
        self._muster(now, orders.target if orders else minimum, place, _closed(orders))
        if len(self.members) < minimum:
            self._wait(now)
            return
        if tuple(self.members) != self._formed:
            self._form(now)
            return
        total = self.folder.state.total_steps or 0
        self.folder.write(now, step=min(total, self._step + self.steps_per_tick))
        if orders is not None and orders.checkpoint not in (0, self._answered):
            self._answered = orders.checkpoint
            self._checkpoint(now, wish=orders.checkpoint)
        if self._step >= total:
            self.finish(now)

    def _let_go(self, now: datetime, orders: Orders) -> None:
        """Of those whom users or drained nodes want gone; others come in their place."""
        for worker, node in list(self.members.items()):
            if worker in orders.kill_workers:
                kind, message = EventKind.WORKER_LOST, f"worker {worker} was lost: its process died"
            elif worker in orders.drain_workers or node in orders.drained_nodes:
                kind, message = EventKind.WORKER_RETIRED, f"worker {worker} left"
            else:
                continue
            del self.members[worker]
            self.folder.event(kind, message, now, worker=worker, step=self._step)

    def _muster(self, now: datetime, target: int, place: Place, closed: frozenset[str]) -> None:
        if self.feed and self.feed_on is None:
            self.feed_on = place(self.feed, frozenset())
            if self.feed_on is None:
                return
        while len(self.members) > target:
            worker, _ = self.members.popitem()
            self.folder.event(EventKind.WORKER_RETIRED, f"worker {worker} left", now, worker=worker)
        while len(self.members) < target:
            node = place(self.bundle, closed)
            if node is None:
                return
            worker = f"w{self._next_worker}"
            self._next_worker += 1
            self.members[worker] = node
            message = f"worker {worker} starts on {node}"
            self.folder.event(EventKind.WORKER_STARTED, message, now, worker=worker, node_id=node)

    def _wait(self, now: datetime) -> None:
        timeout = self.folder.spec.retry.start_timeout
        if not self._formed and (now - self.born).total_seconds() >= timeout:
            self._end(EndReason.NO_CAPACITY, f"{len(self.members)} workers have a place", now)
        elif self.folder.state.phase != "waiting for capacity":
            self.folder.event(EventKind.WAITING_FOR_CAPACITY, "workers wait for a place", now)
            self.folder.write(now, phase="waiting for capacity")

    def _form(self, now: datetime) -> None:
        self._formed = tuple(self.members)
        state = self.folder.state
        self.folder.write(
            now,
            status=RunStatus.RUNNING,
            phase="",
            workers=len(self._formed),
            generation=state.generation + 1,
            started=state.started or timestamp(now),
        )
        self.folder.event(
            EventKind.GENERATION_STARTED,
            f"generation {state.generation + 1}: {len(self._formed)} workers go on from step {state.step}",
            now,
            generation=state.generation + 1,
            workers=list(self._formed),
            step=state.step,
            steps_repeated=0,
            form_s=0.01,
            copy_s=0.0,
            source="fresh",
        )

    def _checkpoint(self, now: datetime, **facts: Any) -> None:
        path = f"checkpoints/step-{self._step:08}"
        self.folder.write(now, checkpoint=path)
        message = f"checkpoint of step {self._step} is committed"
        self.folder.event(EventKind.CHECKPOINT_COMMITTED, message, now, step=self._step, path=path, **facts)

    def _end(self, reason: EndReason, message: str, now: datetime) -> None:
        self.folder.conclude(reason, message, now)
        self.alive = False


def _closed(orders: Orders | None) -> frozenset[str]:
    """Nodes where nobody may start."""
    return frozenset() if orders is None else frozenset(orders.closed_nodes) | frozenset(orders.drained_nodes)
