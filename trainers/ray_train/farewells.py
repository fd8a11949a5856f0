"""Who is to leave politely, and what follows when no replacement comes in time.

A worker leaves because its node will be gone (Ray was told, or the service says so) or because a user wishes
it. First a replacement is asked for; when that is warm, the worker leaves at a step boundary. Where none came
by the deadline it leaves all the same; where too few would go on without it, the whole group saves a
checkpoint, leaves, and is formed anew when there is room. No step is repeated in any of these.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final, assert_never

from orchestrator.domain.events import EventKind
from orchestrator.domain.membership import WorkerPhase
from trainers.ray_train.happenings import NodesDrain, NodesOrdered, OfFarewells, WorkersOrdered
from trainers.ray_train.muster import Muster
from trainers.recorder import Recorder

_SHARE_FOR_LEAVING: Final = 0.5
"""Of the time until a deadline, where that is short: so much is kept for a checkpoint and the farewell."""


class Farewells:
    """`parting` while the whole group leaves; its members then end as if the run were stopped."""

    def __init__(
        self,
        grace_s: float,
        recorder: Recorder,
        muster: Muster,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """A replacement is waited for until `grace_s` before the deadline, and so long where there is
        none but a user's wish. `clock` counts seconds since 1970."""
        self.parting = False
        self._grace_s = grace_s
        self._recorder = recorder
        self._muster = muster
        self._clock = clock
        self._by_ray: Mapping[str, float | None] = {}
        self._ordered = NodesOrdered((), {})
        self._deadlines: dict[str, float | None] = {}
        self._patience: dict[str, float | None] = {}
        """Draining node, or worker that a user drains -> until when a replacement is waited for; None for as
        long as it takes."""
        self._wished: set[str] = set()
        self._killed: set[str] = set()
        self._leaving: set[str] = set()
        """Members that are on record as leaving."""

    def handle(self, happening: OfFarewells) -> None:
        match happening:
            case NodesDrain(deadlines):
                self._by_ray = deadlines
            case NodesOrdered():
                self._ordered = happening
            case WorkersOrdered(drain, kill):
                self._wished |= set(drain)
                self._kill(kill)
            case _:
                assert_never(happening)
        before, nodes = self._deadlines, self._draining()
        self._deadlines = nodes
        self._patience = {
            node_id: self._patience[node_id]
            if node_id in before and before[node_id] == deadline
            else self._patience_until(deadline)
            for node_id, deadline in nodes.items()
        } | {
            worker_id: self._patience.get(worker_id, self._clock() + self._grace_s)
            for worker_id in self._wished
        }
        self._muster.close_nodes(frozenset(nodes) | frozenset(self._ordered.closed))

    def turned_away(self, worker_id: str) -> bool:
        """A worker began on a node that was closed while it waited for its place, and is let go."""
        closed = self._muster.on_closed_node(worker_id)
        if closed:
            self._muster.leave(worker_id)
        return closed

    def settle(self) -> None:
        """Let go of whoever is to leave, as far as that is possible now."""
        roster = self._muster.roster
        for worker_id in self._leaving - set(self._why_leaves()):
            self._leaving.discard(worker_id)
            roster.keep(worker_id)
        overdue: list[str] = []
        for worker_id, (key, why) in self._why_leaves().items():
            if roster.phase(worker_id) is not WorkerPhase.ACTIVE:
                if worker_id in self._wished or self._muster.on_closed_node(worker_id):
                    self._muster.leave(worker_id)  # it has done nothing yet
                continue
            self._notice(worker_id, why)
            roster.replace(worker_id)
            until = self._patience[key]
            if until is not None and self._clock() >= until:
                overdue.append(worker_id)
        if overdue and not self.parting:
            self._leave_without_replacement(overdue)
        if self.parting and not roster.workers(WorkerPhase.ACTIVE):
            self.parting = False

    def _leave_without_replacement(self, overdue: list[str]) -> None:
        roster = self._muster.roster
        stay = [worker for worker in roster.workers(WorkerPhase.ACTIVE) if worker not in overdue]
        who = ", ".join(overdue)
        if len(stay) >= roster.minimum:
            if not roster.keeps_state(stay):
                return  # newcomers are just copying it
            message = f"no replacement came in time: {who} leaves, {len(stay)} workers go on"
            for worker_id in overdue:
                roster.retire(worker_id)
        else:
            message = (
                f"no replacement for {who} came in time, and fewer than {roster.minimum} workers would be "
                "left: all save a checkpoint and leave, and the run goes on from there when there is room"
            )
            self.parting = True
            self._muster.ask_members_to_stop()
            self._recorder.phase("draining")
        self._recorder.event(EventKind.DRAIN_OVERDUE, message, workers=overdue, step=self._recorder.step)

    def _why_leaves(self) -> dict[str, tuple[str, str]]:
        """Worker -> what it leaves for (a node or itself), and a sentence on it."""
        if not self._patience:
            return {}
        found: dict[str, tuple[str, str]] = {}
        roster = self._muster.roster
        for worker_id in roster.workers(WorkerPhase.STARTING, WorkerPhase.WARM, WorkerPhase.ACTIVE):
            node_id = self._muster.node(worker_id)
            if worker_id in self._wished:
                found[worker_id] = (worker_id, f"worker {worker_id} is drained by a user's wish")
            elif node_id in self._patience:
                found[worker_id] = (node_id, f"node {node_id[:12]} of worker {worker_id} drains")
        for worker_id in roster.workers(WorkerPhase.REQUESTED):
            if worker_id in self._wished:
                found[worker_id] = (worker_id, "")
        return found

    def _notice(self, worker_id: str, why: str) -> None:
        if worker_id in self._leaving:
            return
        self._leaving.add(worker_id)
        node_id = self._muster.node(worker_id)
        deadline = self._draining().get(node_id)
        left = "" if deadline is None else f", {max(0.0, deadline - self._clock()):.0f} s are left"
        self._recorder.event(
            EventKind.DRAIN_NOTICED,
            f"{why}{left}; it leaves when its replacement is there",
            worker=worker_id,
            node_id=node_id,
            step=self._recorder.step,
        )

    def _kill(self, worker_ids: tuple[str, ...]) -> None:
        for worker_id in worker_ids:
            if worker_id in self._killed:
                continue
            self._killed.add(worker_id)
            if self._muster.roster.phase(worker_id) is not None:
                message = f"worker {worker_id} is killed by a user's wish"
                self._recorder.event(EventKind.WORKER_KILLED, message, worker=worker_id)
                self._muster.kill(worker_id)

    def _draining(self) -> dict[str, float | None]:
        """Of a node that both Ray and the service know of, what the service says counts."""
        return {**self._by_ray, **self._ordered.drained}

    def _patience_until(self, deadline: float | None) -> float | None:
        if deadline is None:
            return None
        left_s = max(0.0, deadline - self._clock())
        return deadline - min(self._grace_s, left_s * _SHARE_FOR_LEAVING)
