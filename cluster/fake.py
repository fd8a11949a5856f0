"""A complete cluster in memory, run directories included: drivers and controllers as state machines on a
clock that somebody turns by hand. It fails on cue, and it can be asked what was done to it.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cluster.fake_run import FakeController, FakeFolder
from orchestrator.domain.errors import ClusterUnavailable, RunExists, StorageError
from orchestrator.domain.events import timestamp
from orchestrator.domain.node_marks import NO_NODES, NodeOrders
from orchestrator.domain.orders import Orders, orders_of
from orchestrator.domain.run_directory import RunState
from orchestrator.domain.runs import Run
from orchestrator.domain.status import EndReason, RunStatus
from orchestrator.ports.cluster import ClusterView, DriverOrder, DriverState, DriverStatus, Node
from orchestrator.ports.run_files import News

_NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass
class FakeDriver:
    order: DriverOrder
    status: DriverStatus = field(default_factory=lambda: DriverStatus(DriverState.PENDING))

    def end(self, state: DriverState, message: str = "") -> None:
        self.status = DriverStatus(state, message)


class FakeCluster:
    """Implements the ports Cluster and RunFiles. Runs are named by their name."""

    def __init__(self, *cpus: float, steps_per_tick: int = 5) -> None:
        """One node for each number of CPUs; `node-0` is the head."""
        self.now = _NOON
        self.launched: list[DriverOrder] = []
        self.stopped: list[str] = []
        self.drained: dict[str, float | None] = {}
        self.can_be_told = True
        self._steps_per_tick = steps_per_tick
        self._nodes = {f"node-{index}": _node(index, each) for index, each in enumerate(cpus)}
        self._drivers: dict[str, FakeDriver] = {}
        self._controllers: list[FakeController] = []
        self._folders: dict[Path, FakeFolder] = {}
        self._away = False
        self._lock = threading.RLock()
        """The control loop calls from threads."""

    # time

    def clock(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return (self.now - _NOON).total_seconds()

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass, then give every driver and every controller one turn."""
        with self._lock:
            self.now += timedelta(seconds=seconds)
            for driver in list(self._drivers.values()):
                if not driver.status.state.over:
                    self._attend(driver)
            for controller in self._controllers:
                if controller.alive and not controller.folder.broken:
                    controller.turn(self.now, self._place)

    # the port Cluster

    def view(self) -> ClusterView:
        with self._lock:
            self._check_there()
            return ClusterView(tuple(self._nodes.values()))

    def launch(self, order: DriverOrder) -> None:
        with self._lock:
            self._check_there()
            if order.submission_id not in self._drivers:
                self._drivers[order.submission_id] = FakeDriver(order)
                self.launched.append(order)

    def drivers(self) -> Mapping[str, DriverStatus]:
        with self._lock:
            self._check_there()
            return {name: driver.status for name, driver in self._drivers.items()}

    def stop(self, submission_id: str) -> None:
        with self._lock:
            self._check_there()
            driver = self._drivers.get(submission_id)
            if driver is None or driver.status.state.over:
                return
            self.stopped.append(submission_id)
            controller = self._controller_in(driver.order.run_folder)
            if controller is not None and not controller.deaf:
                controller.stop(EndReason.USER_CANCELLED, "its Ray job was stopped", self.now)
            driver.end(DriverState.STOPPED, "the job was stopped")

    def drain(self, node_id: str, deadline_s: float | None, reason: str) -> bool:
        """Keeps what it was told; `can_be_told` says whether it understands."""
        with self._lock:
            self._check_there()
            if self.can_be_told:
                self.drained[node_id] = deadline_s
            return self.can_be_told

    def address(self) -> str:
        return "http://fake"

    # the port RunFiles

    def begin(self, run: Run) -> None:
        with self._lock:
            path, spec = Path(run.storage) / run.name, run.spec
            folder = self._folders.get(path)
            if folder is None:
                state = RunState(
                    run=run.name, attempt=run.attempt, status=RunStatus.QUEUED, updated=timestamp(self.now)
                )
                self._folders[path] = FakeFolder(spec, state, last_beat=self.now)
                return
            _check_whole(folder)
            if folder.spec.fingerprint() != spec.fingerprint():
                raise RunExists(f"run '{run.name}' was started with another spec")
            if folder.state.attempt < run.attempt:
                folder.begin(run.attempt, self.now)

    def order(self, run: Run, nodes: NodeOrders = NO_NODES) -> None:
        with self._lock:
            self._folder(run).orders = orders_of(run, nodes)

    def beat(self, run: Run) -> None:
        with self._lock:
            self._folder(run).last_beat = self.now

    def news(self, run: Run) -> News:
        with self._lock:
            folder = self._folders.get(Path(run.storage) / run.name)
            if folder is None:
                return News(None)
            _check_whole(folder)
            state = folder.state if folder.state.attempt == run.attempt else None
            return News(state, tuple(folder.events[run.outbox_seq :]))

    # what can be asked

    def orders_of(self, run: str) -> Orders | None:
        return self._folder_named(run).orders

    def living(self, run: str) -> list[FakeController]:
        """Its controllers that live; more than one is a fault of whoever started them."""
        return [each for each in self._controllers if each.alive and each.folder.spec.name == run]

    def workers_of(self, run: str) -> int:
        return sum(len(controller.members) for controller in self.living(run))

    # faults

    def fail_driver(self, submission_id: str, message: str = "the driver was killed") -> None:
        with self._lock:
            self._drivers[submission_id].end(DriverState.FAILED, message)

    def kill_controller(self, run: str) -> None:
        with self._lock:
            for controller in self.living(run):
                controller.alive = False

    def user_error(self, run: str) -> None:
        with self._lock:
            for controller in self.living(run):
                controller.raise_user_error(self.now)

    def finish(self, run: str) -> None:
        """It does its last step."""
        with self._lock:
            for controller in self.living(run):
                controller.finish(self.now)

    def deafen(self, run: str) -> None:
        """Its controller obeys no wish to stop from now on."""
        for controller in self.living(run):
            controller.deaf = True

    def go_away(self) -> None:
        """Nobody answers. What trains goes on training."""
        self._away = True

    def come_back(self) -> None:
        self._away = False

    def lose_everything(self) -> None:
        """The head dies and another one starts: no driver and no controller is known any more."""
        with self._lock:
            self._drivers.clear()
            for controller in self._controllers:
                controller.alive = False

    def remove_node(self, node_id: str) -> None:
        with self._lock:
            self._nodes[node_id] = replace(self._nodes[node_id], alive=False)
            for controller in self._controllers:
                if controller.alive:
                    controller.lose_node(node_id, self.now)

    def return_node(self, node_id: str) -> None:
        with self._lock:
            self._nodes[node_id] = replace(self._nodes[node_id], alive=True)

    def break_storage(self, run: str) -> None:
        self._folder_named(run).broken = True

    def mend_storage(self, run: str) -> None:
        self._folder_named(run).broken = False

    # inside

    def _attend(self, driver: FakeDriver) -> None:
        """One turn of a driver: wait with its controller, whoever made it."""
        order = driver.order
        if driver.status.state is DriverState.PENDING:
            driver.status = DriverStatus(DriverState.RUNNING)
            return
        folder = self._folders[order.run_folder]
        if folder.state.attempt != order.attempt:
            driver.end(DriverState.FAILED, f"attempt {order.attempt} was superseded")
        elif folder.state.reason is not None:
            finished = folder.state.status is RunStatus.SUCCEEDED
            driver.end(DriverState.SUCCEEDED if finished else DriverState.FAILED, folder.state.message)
        else:
            self._wait_with_controller(driver, folder)

    def _wait_with_controller(self, driver: FakeDriver, folder: FakeFolder) -> None:
        controller = self._controller_in(driver.order.run_folder)
        if controller is not None and controller.attempt != driver.order.attempt:
            controller.alive = False
            controller = None
        if controller is None and folder.state.status is RunStatus.QUEUED:
            controller = FakeController.start(folder, self.now, self._steps_per_tick)
            self._controllers.append(controller)
        if controller is None:
            folder.conclude(EndReason.CONTROLLER_LOST, "the controller is gone", self.now)
            driver.end(DriverState.FAILED, "the controller is gone")
            return
        controller.heard_of = self.now

    def _controller_in(self, path: Path) -> FakeController | None:
        folder = self._folders.get(path)
        return next((each for each in self._controllers if each.alive and each.folder is folder), None)

    def _place(self, bundle: Mapping[str, float], closed: frozenset[str]) -> str | None:
        for node in self._nodes.values():
            free = self._free(node)
            open_ = node.alive and node.id not in closed
            if open_ and all(free.get(kind, 0.0) >= much for kind, much in bundle.items()):
                return node.id
        return None

    def _free(self, node: Node) -> dict[str, float]:
        free = dict(node.resources)
        for controller in self._controllers:
            if not controller.alive:
                continue
            held = [controller.bundle for each in controller.members.values() if each == node.id]
            held += [controller.feed] if controller.feed_on == node.id else []
            for bundle in held:
                for kind, much in bundle.items():
                    free[kind] = free.get(kind, 0.0) - much
        return free

    def _check_there(self) -> None:
        if self._away:
            raise ClusterUnavailable("Ray does not answer at http://fake")

    def _folder(self, run: Run) -> FakeFolder:
        folder = self._folders.get(Path(run.storage) / run.name)
        if folder is None:
            raise StorageError(f"there is no run directory of {run.name}")
        _check_whole(folder)
        return folder

    def _folder_named(self, run: str) -> FakeFolder:
        return next(folder for folder in self._folders.values() if folder.spec.name == run)


def _node(index: int, cpus: float) -> Node:
    return Node(f"node-{index}", "127.0.0.1", f"node-{index}", True, index == 0, {"CPU": float(cpus)})


def _check_whole(folder: FakeFolder) -> None:
    if folder.broken:
        raise StorageError(f"the storage of {folder.spec.name} cannot be read", hint="mend it")
