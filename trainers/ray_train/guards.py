"""What watches over the members: who hangs, whose bits are not the others', who makes a step not finite, who
straggles; and what follows."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, assert_never

from orchestrator.checkpoints.catalog import Committed
from orchestrator.domain.events import EventKind
from orchestrator.domain.membership import Generation
from orchestrator.domain.spec_parts import RetrySpec
from orchestrator.domain.status import EndReason, IncidentKind
from orchestrator.domain.stragglers import Paces, Straggler
from orchestrator.domain.vigil import LOOK_EVERY_S, Hung, Phase, Vigil
from trainers.elastic.messages import (
    Entered,
    Formed,
    ReplicasDiffer,
    Report,
    StepNotFinite,
    StepPoint,
    StepsDone,
)
from trainers.ray_train.happenings import Answered, End, GoOn, Happening, Look, StillBroken, Verdict
from trainers.ray_train.incidents import Incidents
from trainers.ray_train.muster import Muster
from trainers.recorder import Recorder

_MAX_REPLACED: Final = 3
"""Stragglers that are replaced in one attempt; where replacements straggle too, it is not the worker."""


class Guards:
    """Ends those who harm the others. `evicted` are not heard any more, should they wake."""

    def __init__(
        self,
        retry: RetrySpec,
        recorder: Recorder,
        muster: Muster,
        incidents: Incidents,
        tell: Callable[[Happening], None],
    ):
        self.vigil = Vigil(retry.hang_timeout, retry.start_timeout)
        self.evicted: set[str] = set()
        self.rewind_to: int | None = None
        """For the next generation: no member may go on with a state after this step."""
        self.tolerated: tuple[int, ...] = ()
        self._retry = retry
        self._recorder = recorder
        self._muster = muster
        self._incidents = incidents
        self._tell = tell
        self._members: tuple[str, ...] = ()
        self._paces = Paces()
        self._num_replaced = 0
        self._distrusted = 0
        """The newest generation whose members could not go on."""
        self._rewound_by: int | None = None
        """The first generation that was told to rewind."""
        self._asking: set[asyncio.Task[None]] = set()

    # what is heard

    def hear(self, report: Report) -> Verdict:
        now = time.monotonic()
        match report:
            case StepsDone():
                self.vigil.heard(now, [point.step_s for point in report.points])
                self._on_steps(report)
            case Entered():
                self.vigil.entered(report.worker_id, report.phase, now)
            case StepNotFinite():
                return self._on_not_finite(report)
            case ReplicasDiffer():
                return self._on_difference(report)
            case Formed():
                self.vigil.heard(now)
                if self._rewound_by is not None and report.generation >= self._rewound_by:
                    self.rewind_to = self._rewound_by = None
            case _:
                self.vigil.heard(now)
        return GoOn()

    def publish(self, generation: Generation, checkpoints: Sequence[Committed]) -> None:
        """Offer a generation, with what its members must know before they trust their state."""
        roster, before = self._muster.roster, self._members
        urgent = any(roster.phase(member) is None for member in before)
        self._members = generation.members
        self._muster.publish(
            generation, self._recorder.step, checkpoints, self.rewind_to, self.tolerated, urgent=urgent
        )
        self.vigil.offered(generation.members, time.monotonic())
        if self.rewind_to is not None and self._rewound_by is None:
            self._rewound_by = generation.number

    # who hangs

    def begin(self) -> None:
        asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._tell, Look())

    def handle(self, happening: Answered | Look | StillBroken) -> Verdict:
        match happening:
            case Answered(worker_id, pulse):
                self.vigil.answered(worker_id, pulse, time.monotonic())
                return GoOn()
            case Look():
                self.begin()
                return self.look()
            case StillBroken():
                return self._on_broken(happening)
            case _:
                assert_never(happening)

    def look(self) -> Verdict:
        now = time.monotonic()
        for hung in self.vigil.look(now):
            verdict = self._on_hung(hung)
            if isinstance(verdict, End):
                return verdict
        for worker_id in self.vigil.to_ask(now):
            task = asyncio.get_running_loop().create_task(self._ask(worker_id))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return GoOn()

    async def _ask(self, worker_id: str) -> None:
        pulse = await self._muster.pulse(worker_id)
        if pulse is not None:
            self._tell(Answered(worker_id, pulse))

    def _on_hung(self, hung: Hung) -> Verdict:
        how = "it does not answer" if hung.silent else "it has not moved"
        where = f"in phase {hung.phase}, late by {hung.late_s:.1f} s"
        others = "" if hung.phase is Phase.START else " while all others wait"
        message = f"worker {hung.worker_id} hangs {where}{others} ({how}), and is ended"
        facts = {"phase": str(hung.phase), "late_s": round(hung.late_s, 3)}
        return self._evict(hung.worker_id, EventKind.WORKER_HUNG, message, **facts)

    def _on_broken(self, broken: StillBroken) -> Verdict:
        number = self._muster.roster.generation.number
        if broken.generation != number:
            return GoOn()
        for worker_id in broken.absent:
            message = f"worker {worker_id} hangs and is ended"
            self._recorder.event(EventKind.WORKER_HUNG, message, worker=worker_id)
            self._muster.leave(worker_id)
        self._muster.broken(number)
        return self._incidents.lost(IncidentKind.INFRASTRUCTURE, self._recorder.step, broken.reason, number)

    # whose bits differ, and steps that are not finite

    def _on_difference(self, report: ReplicasDiffer) -> Verdict:
        if report.generation <= self._distrusted:
            return GoOn()  # another member said so
        self._go_back(report.generation, report.rewind_to)
        for worker_id in report.outvoted:
            others = ", ".join(member for member in report.members if member not in report.outvoted)
            message = (
                f"worker {worker_id} was outvoted: after step {report.step} its parameters or optimizer state"
                f" were not those of {others}; it is ended, and all steps that nobody can vouch for are done"
                " again"
            )
            verdict = self._evict(worker_id, EventKind.REPLICA_CORRUPTED, message, step=report.step)
            if isinstance(verdict, End):
                return verdict
        if report.outvoted:
            return GoOn()
        message = (
            f"after step {report.step} the replicas {', '.join(report.members)} differ and none could be"
            " outvoted; all go back to where they agreed"
        )
        self._recorder.event(
            EventKind.REPLICAS_DIFFER, message, step=report.step, workers=list(report.members)
        )
        number = self._muster.roster.generation.number
        return self._incidents.lost(IncidentKind.INFRASTRUCTURE, self._recorder.step, message, number)

    def _on_not_finite(self, report: StepNotFinite) -> Verdict:
        if self._retry.on_nan != "skip" and report.generation <= self._distrusted:
            return GoOn()
        sentence = _not_finite(report)
        self._recorder.event(
            EventKind.NOT_FINITE,
            sentence,
            step=report.step,
            epoch=report.epoch,
            first=report.first,
            last=report.last,
            shard=report.shard,
            worker=report.culprit,
        )
        match self._retry.on_nan:
            case "skip":
                return GoOn()
            case "fail":
                return End(EndReason.NOT_FINITE, f"{sentence}; retry.on_nan is fail")
            case "rollback":
                self.tolerated = (*self.tolerated, report.step)
                self._go_back(report.generation, report.step - 1)
                message = f"step {report.step} was not finite: all go back to the newest good state"
                self._recorder.event(EventKind.ROLLED_BACK, message, step=report.step)
                return GoOn()
            case _:
                assert_never(self._retry.on_nan)

    def _go_back(self, generation: int, newest_step: int) -> None:
        self._distrusted = generation
        self.rewind_to = newest_step if self.rewind_to is None else min(newest_step, self.rewind_to)
        self._rewound_by = None
        self._muster.broken(self._muster.roster.generation.number)
        self._recorder.phase("recovering")

    # who straggles

    def _on_steps(self, report: StepsDone) -> None:
        if report.members != self._muster.roster.generation.members:
            return
        for point in report.points:
            for straggler in self._paces.observe(_paces(report.members, point)):
                self._on_straggler(straggler, point.step)

    def _on_straggler(self, straggler: Straggler, step: int) -> None:
        worker_id, node_id = straggler.worker_id, self._muster.node(straggler.worker_id)
        replace = self._retry.replace_stragglers and self._num_replaced < _MAX_REPLACED
        message = (
            f"worker {worker_id} on node {node_id} computes {straggler.ratio:.1f} times slower than its peers"
        )
        self._recorder.event(
            EventKind.STRAGGLER_FOUND,
            message + ("; it is replaced" if replace else ""),
            worker=worker_id,
            node_id=node_id,
            step=step,
            ratio=round(straggler.ratio, 2),
            shard_s=round(straggler.shard_s, 5),
        )
        if replace:
            self._num_replaced += 1
            self._muster.roster.replace(worker_id)

    # what follows

    def _evict(self, worker_id: str, kind: EventKind, message: str, **facts: object) -> Verdict:
        """End a worker for what it does to the others; a loss like any other from then on."""
        if self._muster.roster.phase(worker_id) is None:
            return GoOn()
        step = self._recorder.step
        facts = {"step": step, "node_id": self._muster.node(worker_id), **facts}
        self._recorder.event(kind, message, worker=worker_id, **facts)
        self.evicted.add(worker_id)
        self.vigil.gone(worker_id)
        generation = self._muster.leave(worker_id)
        if generation is not None:
            self._recorder.phase("recovering")
        return self._incidents.lost(IncidentKind.INFRASTRUCTURE, step, message, generation)


def _paces(members: tuple[str, ...], point: StepPoint) -> dict[str, float]:
    if len(point.compute_s) != len(members):
        return {}
    return dict(zip(members, point.compute_s, strict=True))


def _not_finite(report: StepNotFinite) -> str:
    rows = f"positions {report.first} to {report.last - 1} of epoch {report.epoch}"
    if report.shard < 0:
        return (
            f"step {report.step}: the sum over all logical shards was not finite ({rows}), each was by itself"
        )
    return (
        f"step {report.step}: the {report.what} of logical shard {report.shard} ({rows}), computed by worker"
        f" {report.culprit}, was not finite"
    )
