"""What a driver does for a controller: wait with it, pass on signals, and leave nothing behind when it is
over."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, TypeVar

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RaySystemError, RpcError
from ray.train import Result
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.domain.ray_names import NAMESPACE, controller_name, slot_prefix
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import EndReason
from trainers.elastic.job import WorkerJob
from trainers.ray_train.lookout import orders_for

_Found = TypeVar("_Found")
_STOP_SLACK_S: Final = 5.0
"""Beyond the grace of a stop, until the driver gives up on a controller that does not answer."""
_AWAY: Final = (ActorUnavailableError, GetTimeoutError, RaySystemError, RpcError, ConnectionError)
"""What calls end with while Ray's own control service is down; it comes back, and training goes on."""
_AWAY_FOR_S: Final = 180.0
_ANSWERS_WITHIN_S: Final = 30.0
_GONE_WITHIN_S: Final = 30.0


class NotObeyed(ClusterUnavailable):
    """A wish to stop was not obeyed in time, so the controller was ended."""


def attend(controller: Any, job: WorkerJob) -> Result:
    """Wait with a controller until its attempt is over, then see it off.

    Raises RayActorError where it died, NotObeyed.
    """
    name = str(job.spec.name)
    over = not job.detached  # one that goes on without its driver is not to be ended by an error of that
    try:
        with stopping_politely(controller) as wish:
            _wait_over(controller, job, wish)
        over = True
        return patiently(lambda: ray.get(controller.get_result.remote()))
    except ActorUnavailableError:
        raise
    except (RayActorError, NotObeyed):
        over = True
        raise
    finally:
        if over:
            ray.kill(controller)
            patiently(lambda: sweep(name), _AWAY_FOR_S if job.detached else 0.0)


def living_controller(name: str, attempt: int) -> Any | None:
    """The controller of this attempt, if it lives. One of an older attempt is ended first."""
    while True:
        controller = find_controller(name)
        if controller is None:
            return None
        try:
            of_attempt = patiently(
                lambda: ray.get(controller.get_attempt.remote(), timeout=_ANSWERS_WITHIN_S)  # noqa: B023
            )
        except RayActorError:
            of_attempt = None  # it is just dying
        if of_attempt == attempt:
            return controller
        end_controller(controller, name)


def find_controller(name: str) -> Any | None:
    def find() -> Any | None:
        try:
            return ray.get_actor(controller_name(name), namespace=NAMESPACE)
        except ValueError:
            return None

    return patiently(find)


def end_controller(controller: Any, name: str) -> None:
    """End a controller with all that it holds; returns when its name is free. Raises ClusterUnavailable."""
    ray.kill(controller)
    deadline = time.monotonic() + _GONE_WITHIN_S
    while find_controller(name) is not None:
        if time.monotonic() > deadline:
            raise ClusterUnavailable(f"the old controller of run {name} cannot be ended")
        time.sleep(0.1)
    patiently(lambda: sweep(name))


def sweep(run: str) -> int:
    """Remove every placement group of a run that its controller left behind; returns how many."""
    left = [
        table["placement_group_id"]
        for table in placement_group_table().values()
        if str(table["name"]).startswith(slot_prefix(run)) and table["state"] != "REMOVED"
    ]
    for group_id in left:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group_id))))
    return len(left)


def patiently(call: Callable[[], _Found], for_s: float = _AWAY_FOR_S) -> _Found:
    """Call again while Ray is away, for minutes; then what it raised is raised."""
    deadline = time.monotonic() + for_s
    while True:
        try:
            return call()
        except _AWAY:
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)


@dataclass
class StopWish:
    """Whether and when somebody wished the run to stop."""

    since_s: float | None = None

    def overdue(self, after_s: float) -> bool:
        return self.since_s is not None and time.monotonic() - self.since_s > after_s


@contextmanager
def stopping_politely(controller: Any) -> Iterator[StopWish]:
    """Turn SIGINT and SIGTERM into a wish to stop; the second one takes its usual course."""
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before: dict[signal.Signals, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        signal.signal(number, before[signal.Signals(number)])
        wish.since_s = time.monotonic()
        with suppress(RayActorError):
            controller.request_stop.remote(EndReason.USER_CANCELLED, f"stopped by {name}")

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, on_signal)
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_over(controller: Any, job: WorkerJob, wish: StopWish) -> None:
    away_since: float | None = None
    over = controller.wait_over.remote()
    while True:
        try:
            if ray.wait([over], timeout=1.0)[0]:
                ray.get(over)
                return
            away_since = None
            if job.detached:
                controller.renew_lease.remote()
        except _AWAY:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > _AWAY_FOR_S:
                raise
            time.sleep(1.0)
            over = controller.wait_over.remote()
        if wish.since_s is not None and wish.overdue(_obeyed_within_s(job)):
            raise NotObeyed(
                f"run {job.spec.name} did not stop in time: its controller or Ray itself does not answer",
                hint="" if job.detached else "add --resume to go on from the newest checkpoint",
            )


def _obeyed_within_s(job: WorkerJob) -> float:
    """A signal where the service has long ordered a stop means that the order was not obeyed."""
    orders = orders_for(RunDirectory(job.run_folder), job.attempt) if job.detached else None
    return 1.0 if orders is not None and orders.stop is not None else job.spec.stop.grace + _STOP_SLACK_S
