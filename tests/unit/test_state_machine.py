"""Any verb and any fault in any order: what must hold of runs holds after each, and everything that is
active ends when nothing goes wrong any more."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.controllers import acting
from orchestrator.domain.errors import SpecError, TumblerError, WrongStatus
from orchestrator.domain.runs import Run, submission_id
from orchestrator.domain.status import LEGAL_MOVES, RunStatus
from orchestrator.ports.record import Decide, RunQuery
from orchestrator.services.runs import Workers
from orchestrator.store.memory import MemoryRecord
from tests.unit.service_world import World

pytestmark = pytest.mark.slow

RUNS = st.integers(0, 5)
"""Which run, of those that there are."""
TURNS = st.integers(0, 4)
"""How many seconds pass afterwards, with a round in each."""


class Killed(BaseException):
    """As if the process of the service ended here."""


class WatchedRecord(MemoryRecord):
    """Remembers what went wrong inside a transaction: the control loop must not have survived it unseen."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[Exception] = []

    async def change(self, run_id: str, decide: Decide, *, lease: int | None = None) -> Run:
        try:
            return await super().change(run_id, decide, lease=lease)
        except TumblerError:
            raise
        except Exception as error:
            self.faults.append(error)
            raise


class Service(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.record = WatchedRecord()
        self.world = World(2, 2, record=self.record)
        self.ended: dict[str, RunStatus] = {}
        self.names = (f"run-{number}" for number in itertools.count())
        self.services = itertools.count(2)
        self.kill = False
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(acting, "reach", self._reach)

    def _reach(self, name: str) -> None:
        if self.kill:
            self.kill = False
            raise Killed(name)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def runs(self) -> tuple[Run, ...]:
        page = self.do(self.record.page(RunQuery(sort="created", limit=500)))
        return tuple(page.runs)

    def verb(self, which: int, verb: str, *arguments: Any) -> None:
        runs = self.runs()
        run = runs[which % len(runs)]
        try:
            self.do(getattr(self.world.service, verb)(run.name, *arguments))
        except WrongStatus:
            assert verb != "cancel" or run.status.terminal
        except SpecError:
            assert verb == "scale"
        else:
            if verb == "delete":
                self.ended.pop(run.id)

    def turns(self, times: int) -> None:
        for _ in range(times):
            self.turn(1.0)

    def turn(self, seconds: float) -> None:
        try:
            self.do(self.world.turn(seconds=seconds))
        except Killed:
            self.world.reconciler = self.world.new_reconciler(f"service-{next(self.services)}")

    def living(self, which: int) -> str | None:
        names = sorted({each.folder.spec.name for each in self.world.cluster._controllers if each.alive})
        return names[which % len(names)] if names else None

    # verbs

    @initialize(turns=st.integers(0, 6))
    def some_runs_train(self, turns: int) -> None:
        for workers in (1, "1:4", 2):
            self.submit(workers, 1, "default", None)
        self.turns(turns)

    @rule(
        workers=st.sampled_from([1, 2, "1:4", "2:3", 4]),
        priority=st.integers(0, 2),
        queue=st.sampled_from(["default", "other"]),
        deadline=st.sampled_from([None, 60]),
    )
    def submit(self, workers: int | str, priority: int, queue: str, deadline: int | None) -> None:
        if len(self.runs()) >= 6:
            return
        self.do(
            self.world.submit(
                next(self.names),
                workers=workers,
                priority=priority,
                queue=queue,
                stop={"max_duration": deadline, "grace": 2},
                train={"steps": 60},
            )
        )

    @precondition(lambda self: self.runs())
    @rule(which=RUNS, verb=st.sampled_from(["pause", "resume", "cancel", "retry", "delete"]), turns=TURNS)
    def steer(self, which: int, verb: str, turns: int) -> None:
        self.verb(which, verb)
        self.turns(turns)

    @precondition(lambda self: self.runs())
    @rule(which=RUNS, low=st.integers(0, 3), high=st.integers(0, 9))
    def scale(self, which: int, low: int, high: int) -> None:
        self.verb(which, "scale", Workers(low, high))

    # time

    @rule(seconds=st.sampled_from([0.2, 1.0, 1.0, 5.0]), times=st.integers(1, 4))
    def time_passes(self, seconds: float, times: int) -> None:
        for _ in range(times):
            self.turn(seconds)

    @rule(seconds=st.sampled_from([1.0, 30.0, 70.0]))
    def time_passes_without_the_service(self, seconds: float) -> None:
        self.world.cluster.tick(seconds)

    # faults

    @rule(dies_acting=st.booleans())
    def the_service_dies(self, dies_acting: bool) -> None:
        if dies_acting:
            self.kill = True
        else:
            self.world.reconciler = self.world.new_reconciler(f"service-{next(self.services)}")

    @precondition(lambda self: self.runs())
    @rule(which=RUNS, turns=TURNS)
    def a_driver_dies(self, which: int, turns: int) -> None:
        runs = self.runs()
        run = runs[which % len(runs)]
        name = submission_id(run, run.driver)
        if name in self.world.cluster._drivers:
            self.world.cluster.fail_driver(name)
        self.turns(turns)

    @rule(
        which=RUNS,
        fault=st.sampled_from(["kill_controller", "user_error", "finish", "deafen"]),
        turns=TURNS,
    )
    def something_happens_to_a_controller(self, which: int, fault: str, turns: int) -> None:
        run = self.living(which)
        if run is not None:
            getattr(self.world.cluster, fault)(run)
        self.turns(turns)

    @rule(which=RUNS, breaks=st.booleans())
    def storage_breaks_or_heals(self, which: int, breaks: bool) -> None:
        run = self.living(which)
        if run is not None and breaks:
            self.world.cluster.break_storage(run)
        elif run is not None:
            self.world.cluster.mend_storage(run)

    @rule(fault=st.sampled_from(["go_away", "come_back", "come_back", "lose_everything"]), turns=TURNS)
    def something_happens_to_ray(self, fault: str, turns: int) -> None:
        getattr(self.world.cluster, fault)()
        self.turns(turns)

    @rule(node=st.sampled_from(["node-0", "node-1"]), dies=st.booleans())
    def a_node_dies_or_comes(self, node: str, dies: bool) -> None:
        (self.world.cluster.remove_node if dies else self.world.cluster.return_node)(node)

    # what must hold

    @invariant()
    def no_transaction_failed(self) -> None:
        assert self.record.faults == []

    @invariant()
    def every_status_follows_from_the_events(self) -> None:
        for run in self.runs():
            events = self.do(self.record.events(run.id, limit=100_000))
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            status = RunStatus.QUEUED
            for event in events:
                if event.kind == "status-moved":
                    assert event.facts["from"] == status
                    assert RunStatus(event.facts["to"]) in LEGAL_MOVES[status]
                    status = RunStatus(event.facts["to"])
            assert status is run.status

    @invariant()
    def what_ended_stays_ended(self) -> None:
        for run in self.runs():
            if run.status.terminal:
                assert self.ended.setdefault(run.id, run.status) is run.status
                assert run.ended is not None
            else:
                assert run.id not in self.ended
            if not run.active:
                assert (run.target, run.stop) == (0, None)

    @invariant()
    def a_run_has_one_living_controller_at_most(self) -> None:
        for run in self.runs():
            assert len(self.world.cluster.living(run.name)) <= 1

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.patches.undo()
            self.do(self.loop.shutdown_default_executor())
            self.loop.close()

    def drain(self) -> None:
        """Nothing goes wrong any more: everything that is active or waits comes to an end."""
        cluster = self.world.cluster
        self.kill = False
        cluster.come_back()
        for node in ("node-0", "node-1"):
            cluster.return_node(node)
        for folder in cluster._folders.values():
            folder.broken = False
        for _ in range(250):
            if all(run.status.terminal or run.status is RunStatus.PAUSED for run in self.runs()):
                break
            self.turn(2.0)
        left = {run.name: run for run in self.runs() if not run.status.terminal}
        assert {run.status for run in left.values()} <= {RunStatus.PAUSED}, left
        self.every_status_follows_from_the_events()
        self.no_transaction_failed()


TestService = Service.TestCase
TestService.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
