"""Who is there: asks for workers, ends them, and offers them the generations that the roster decides."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from orchestrator.checkpoints.catalog import Committed
from orchestrator.domain.events import EventKind
from orchestrator.domain.membership import Generation, Roster, WorkerPhase
from orchestrator.domain.vigil import Pulse
from trainers.elastic.faults import Fault
from trainers.elastic.messages import Offer, WorkerProfile
from trainers.ray_train.bring_up import WorkerStarter
from trainers.ray_train.checkpoint_wish import CheckpointWish
from trainers.ray_train.happenings import Placed
from trainers.ray_train.slots import Slot, SlotPool


class Muster:
    """The roster's hands: what it holds in ids, this holds in processes and places."""

    def __init__(
        self,
        roster: Roster,
        slots: SlotPool,
        starter: WorkerStarter,
        note: Callable[..., None] = lambda kind, message, **facts: None,
    ):
        """`note` puts on record who got a place and who gave it back, as `Recorder.event` does."""
        self.roster = roster
        self._note = note
        self.wish = CheckpointWish()
        self._slots = slots
        self._starter = starter
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._actors: dict[str, ActorHandle[Any]] = {}
        self._placed: dict[str, Slot] = {}
        self._nodes: dict[str, str] = {}
        self._profiles: dict[str, WorkerProfile] = {}
        self._num_asked = 0

    @property
    def num_placed(self) -> int:
        return len(self._placed)

    def fill_up(self, back_off_s: float) -> None:
        """Ask for the workers that are missing, and let go of those beyond the target."""
        for worker_id in self.roster.surplus():
            if self.roster.phase(worker_id) is WorkerPhase.ACTIVE:
                self.roster.retire(worker_id)
            else:
                self.leave(worker_id)
        for _ in range(self.roster.missing()):
            self._num_asked += 1
            worker_id = f"w{self._num_asked}"
            self.roster.requested(worker_id)
            bring_up = self._starter.bring_up(worker_id, self._slots, back_off_s)
            self._tasks[worker_id] = asyncio.get_running_loop().create_task(bring_up)
        if not self.roster.workers(WorkerPhase.REQUESTED):
            self._slots.release_unused()

    def placed(self, placed: Placed) -> None:
        self._actors[placed.worker_id] = placed.actor
        self._placed[placed.worker_id] = placed.slot
        message = f"worker {placed.worker_id} was given a place"
        self._note(EventKind.WORKER_PLACED, message, worker=placed.worker_id)
        if self.roster.phase(placed.worker_id) is None:  # no longer wanted
            self.leave(placed.worker_id)
        else:
            self.roster.starting(placed.worker_id)

    def warm(self, profile: WorkerProfile) -> list[str]:
        """Take a worker in; where its numeric platform is not the others', end it and say what differs."""
        known = next(iter(self._profiles.values()), profile).fingerprint
        differs = sorted(key for key, value in profile.fingerprint.items() if known.get(key) != value)
        if differs:
            self.leave(profile.worker_id)
        else:
            self._profiles[profile.worker_id] = profile
            self.roster.warm(profile.worker_id)
        return differs

    def leave(self, worker_id: str) -> int | None:
        """End a worker and forget it; the number of the newest generation if it was a member."""
        was_member = self.roster.gone(worker_id)
        if was_member:
            self.wish.again()
        self._profiles.pop(worker_id, None)
        task = self._tasks.pop(worker_id, None)
        if task is not None:
            task.cancel()
        actor = self._actors.pop(worker_id, None)
        if actor is not None:
            ray.kill(actor)
        slot = self._placed.pop(worker_id, None)
        if slot is not None:
            self._slots.give_back(slot, self._nodes.get(worker_id, ""))
            message = f"worker {worker_id} is gone, its place is given back"
            self._note(EventKind.WORKER_GONE, message, worker=worker_id)
        self._nodes.pop(worker_id, None)
        return self.roster.generation.number if was_member else None

    def broken(self, generation: int) -> None:
        """The group of `generation` failed though all its members may live."""
        self.roster.broken(generation)
        self.wish.again()

    def publish(
        self,
        generation: Generation,
        recorded_step: int,
        checkpoints: Sequence[Committed],
        rewind_to: int | None = None,
        tolerated: tuple[int, ...] = (),
        *,
        urgent: bool = False,
    ) -> None:
        """Offer a generation to its members and to those it leaves out; nobody is waited for."""
        if self.roster.workers(WorkerPhase.RETIRING):
            self.wish.again()  # who leaves does not stay to write its parts
        newest = recorded_step if rewind_to is None else min(recorded_step, rewind_to)
        first = self._profiles[generation.members[0]]
        offer = Offer(
            generation=generation.number,
            members=generation.members,
            nodes=tuple(self._profiles[worker].node_id for worker in generation.members),
            store_host=first.store_host,
            store_port=first.store_port,
            recorded_step=recorded_step,
            # One that the record does not reach is of no use: what led to it died with those who did it.
            checkpoints=tuple(found for found in checkpoints if found.step <= newest),
            rewind_to=rewind_to,
            urgent=urgent,
            tolerated=tolerated,
            ask=self.wish.ask,
        )
        for worker in self.roster.workers(WorkerPhase.ACTIVE, WorkerPhase.RETIRING):
            self._actors[worker].offer.remote(offer)

    def started(self, worker_id: str, node_id: str) -> None:
        self._nodes[worker_id] = node_id

    def node(self, worker_id: str) -> str:
        """Node id of a worker whose process runs; empty for one that is not known."""
        return self._nodes.get(worker_id, "")

    def on_closed_node(self, worker_id: str) -> bool:
        return self._slots.is_closed(self.node(worker_id))

    def close_nodes(self, node_ids: frozenset[str]) -> None:
        """Start nobody there any more. Whoever still waits for a place asks anew: what was asked for before
        would know nothing of it."""
        if self._slots.close_nodes(node_ids):
            for worker_id in self.roster.workers(WorkerPhase.REQUESTED):
                self.leave(worker_id)

    def kill(self, worker_id: str) -> None:
        """End its process, and let that be found as any other loss."""
        actor = self._actors.get(worker_id)
        if actor is None:
            self.leave(worker_id)
        else:
            ray.kill(actor)

    async def pulse(self, worker_id: str) -> Pulse | None:
        """What a worker says of its training thread; None where it is gone before it answers."""
        with suppress(RayError, KeyError):
            found: Pulse = await self._actors[worker_id].pulse.remote()
            return found
        return None

    def inject(self, worker_id: str, fault: Fault) -> None:
        """Raises KeyError for a worker that does not live."""
        self._actors[worker_id].inject.remote(fault)

    def ask_members_to_stop(self) -> None:
        """Those who train; not those who are still starting."""
        for worker_id in self.roster.workers(WorkerPhase.ACTIVE):
            self._actors[worker_id].request_stop.remote()

    def ask_to_stop(self) -> None:
        for actor in self._actors.values():
            actor.request_stop.remote()

    def want_checkpoint(self, wish: int) -> None:
        """Ask all members for one at the next step boundary, and those of generations to come until there is
        one."""
        self.wish.want(wish)
        for worker in self.roster.workers(WorkerPhase.ACTIVE):
            self._actors[worker].ask_for_checkpoint.remote(self.wish.ask)

    def close(self) -> None:
        """End every worker and return every place, when the record is closed. Safe to call twice."""
        self._note = lambda kind, message, **facts: None
        for worker_id in self.roster.workers():
            self.leave(worker_id)
        self._slots.close()
