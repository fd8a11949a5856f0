"""Faults that a controller puts into its workers, and wishes it hears: over Ray, from a process beside it.

Which Ray that is, and how to be let in, tells the raylet above a worker of the run.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster.errors import WorkerNotFound
from cluster.faults import living_members
from cluster.raylets import Raylet, raylet_of
from orchestrator.domain.run_directory import RunDirectory


@contextmanager
def controller_of(run: RunDirectory) -> Iterator[Any]:
    """The handle of the run's controller. Raises WorkerNotFound where none can be reached from here."""
    raylet = _raylet(run)
    os.environ.update({"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **raylet.env})
    import ray  # a second, which nobody waits for who only kills

    from trainers.ray_train.attendance import find_controller

    ray.init(address=raylet.address, log_to_driver=False, logging_level="ERROR")
    try:
        controller = find_controller(run.name)
        if controller is None:
            raise WorkerNotFound(f"run '{run.name}' has no controller on the Ray at {raylet.address}")
        yield controller
    finally:
        ray.shutdown()


def inject(run: RunDirectory, worker: str, fault: Any) -> None:
    """Put a fault (see `trainers.elastic.faults`) into a worker of a living run. Raises WorkerNotFound."""
    with controller_of(run) as controller:
        import ray
        from ray.exceptions import RayTaskError

        try:
            ray.get(controller.inject.remote(worker, fault))
        except RayTaskError as error:
            raise WorkerNotFound(f"worker {worker} of run '{run.name}' lives no more") from error


def _raylet(run: RunDirectory) -> Raylet:
    _, members = living_members(run)
    here = [raylet_of(member.pid) for member in members if member.process.is_here()]
    for raylet in here:
        if raylet is not None:
            return raylet
    raise WorkerNotFound(
        f"no worker of run '{run.name}' is on this machine, so its Ray is not known here",
        hint="run this on the machine of one of its workers",
    )
