"""A cluster in virtual time that does what the scheduler says, for properties over many rounds.

Workers have real places here. A run that is told to leave, or to shrink, does so one round later, as in life;
runs do their work and end, and it is checked in each round that nobody was given what another one holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from orchestrator.domain.events import timestamp
from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Run
from orchestrator.domain.status import EndReason, RunStatus
from orchestrator.ports.cluster import ClusterView, Node
from orchestrator.scheduling.planning import Plan, plan
from orchestrator.scheduling.policy import Policy
from orchestrator.scheduling.room import need_of
from tests.unit.service_world import NOW

ROUND_S = 5.0


@dataclass
class Simulation:
    nodes: list[Node]
    queues: dict[str, Queue]
    policy: Policy
    now: datetime = NOW
    waiting: dict[str, Run] = field(default_factory=dict)
    living: dict[str, Run] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    """Run id -> worker-seconds that are left."""
    seats: dict[str, list[str]] = field(default_factory=dict)
    """Run id -> node of each worker that is there."""
    ended: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    changes: list[tuple[datetime, str, int]] = field(default_factory=list)
    """(when, run id, target) of each decision that was carried out."""
    preemptions: list[tuple[Run, Plan]] = field(default_factory=list)
    _changed: dict[str, datetime] = field(default_factory=dict)

    def submit(self, run: Run, work: float) -> None:
        at = timestamp(self.now)
        self.waiting[run.id] = run.with_(created=at, queued=at)
        self.work[run.id] = work

    def round(self) -> Plan:
        self.now += timedelta(seconds=ROUND_S)
        self._obey()
        self._train()
        decided = plan(
            list(self.waiting.values()),
            list(self.living.values()),
            ClusterView(tuple(self.nodes)),
            self.now,
            queues=self.queues,
            policy=self.policy,
            unsettled=frozenset(self._unsettled()),
        )
        self.check(decided)
        self._carry_out(decided)
        return decided

    def lose(self, index: int) -> None:
        self._put_node(index, alive=False)
        for run_id in self.seats:
            self.seats[run_id] = [node for node in self.seats[run_id] if node != self.nodes[index].id]

    def restore(self, index: int) -> None:
        self._put_node(index, alive=True, cordoned=False)

    def cordon(self, index: int) -> None:
        self._put_node(index, cordoned=True)

    # what must hold

    def check(self, decided: Plan) -> None:
        """No worker twice, quota kept, gang minimum kept, and nobody is told nothing."""
        runs = {**self.waiting, **self.living}
        after = {
            run.id: decided.targets.get(run.id, run.target) for run in self.living.values()
        } | decided.grants
        for run_id, target in {**decided.targets, **decided.grants}.items():
            run = runs[run_id]
            assert 1 <= target <= run.workers_max
            assert target >= min(run.workers_min, run.target or run.workers_min), "less than its gang"
        has = sum(node.resources["CPU"] for node in self.nodes if node.alive)
        fewest = sum(need_of(run).of("CPU", min(run.target, run.workers_min)) for run in self.living.values())
        if fewest <= has:  # else a node is gone, and with it what somebody cannot do without
            for run_id in decided.preemptions:
                after[run_id] = len(self.seats[run_id])
            claimed = sum(need_of(runs[run_id]).of("CPU", workers) for run_id, workers in after.items())
            before = sum(need_of(run).of("CPU", run.target) for run in self.living.values())
            # Who is asked to leave on the day that a node went has its places until it has left.
            assert claimed <= max(has, before if decided.preemptions else 0) + 1e-6, "a worker twice"
        for queue in self.queues.values():
            for kind, most in queue.quota.items():
                held = sum(
                    need_of(runs[run_id]).of(kind, workers)
                    for run_id, workers in after.items()
                    if runs[run_id].queue == queue.name
                )
                assert held <= most + 1e-6, "over its quota"
        told = decided.grants.keys() | decided.waits.keys()
        assert told == self.waiting.keys(), "who waits is told why"
        assert not decided.grants.keys() & decided.waits.keys()
        for run_id in decided.preemptions:
            assert run_id not in decided.targets

    # what happens

    def _unsettled(self) -> Sequence[str]:
        last = self.now - timedelta(seconds=self.policy.settle_s)
        return [run_id for run_id, at in self._changed.items() if at > last]

    def _carry_out(self, decided: Plan) -> None:
        for run_id, target in decided.targets.items():
            self.living[run_id] = self.living[run_id].with_(target=target)
            self._note(run_id, target)
        for run_id in decided.preemptions:
            self.preemptions.append((self.living[run_id], decided))
            self.living[run_id] = self.living[run_id].with_(stop=EndReason.PREEMPTED)
            self._note(run_id, 0)
        for run_id, target in decided.grants.items():
            run = self.waiting.pop(run_id)
            self.living[run_id] = run.with_(
                status=RunStatus.RUNNING, target=target, attempt=run.attempt + 1, started=timestamp(self.now)
            )
            self.seats[run_id] = []
            self.started.add(run_id)
            self._note(run_id, target)

    def _obey(self) -> None:
        for run in list(self.living.values()):
            if run.stop is not None:
                self._leave(run)
                self.waiting[run.id] = run.with_(
                    status=RunStatus.QUEUED, stop=None, target=0, waits_since=timestamp(self.now)
                )
            else:
                del self.seats[run.id][run.target :]
        for run in self.living.values():
            self._sit(run)

    def _sit(self, run: Run) -> None:
        """New workers take whatever place there is, as Ray finds it."""
        need = need_of(run).worker
        while len(self.seats[run.id]) < run.target:
            place = next(
                (node for node in self.nodes if node.open and self._free(node) + 1e-6 >= need["CPU"]), None
            )
            if place is None:
                break
            self.seats[run.id].append(place.id)
        seats = {f"w{index}": node for index, node in enumerate(self.seats[run.id])}
        self.living[run.id] = run.with_(progress=replace(run.progress, seats=seats))

    def _free(self, node: Node) -> float:
        held = sum(
            need_of(run).worker["CPU"] * self.seats[run.id].count(node.id) for run in self.living.values()
        )
        free = node.resources["CPU"] - held
        assert free >= -1e-6, "two workers in one place"
        return free

    def _train(self) -> None:
        for run in list(self.living.values()):
            if len(self.seats[run.id]) >= run.workers_min:
                self.work[run.id] -= len(self.seats[run.id]) * ROUND_S
            if self.work[run.id] <= 0:
                self._leave(run)
                self.ended.add(run.id)

    def _leave(self, run: Run) -> None:
        del self.living[run.id], self.seats[run.id]

    def _put_node(self, index: int, **changes: bool) -> None:
        self.nodes[index] = replace(self.nodes[index], **changes)  # type: ignore[arg-type]

    def _note(self, run_id: str, target: int) -> None:
        self.changes.append((self.now, run_id, target))
        self._changed[run_id] = self.now
