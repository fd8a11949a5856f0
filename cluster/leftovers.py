"""What a run left behind on its machines; after a clean end it is nothing."""

import sys
from dataclasses import dataclass
from typing import Any

from cluster.processes import started_processes
from orchestrator.domain.ray_names import NAMESPACE, controller_name, slot_prefix
from orchestrator.domain.run_directory import RunDirectory


@dataclass(frozen=True)
class Leftovers:
    """False where nothing is left."""

    processes: tuple[int, ...] = ()
    """Workers of the run that live on this machine."""
    actors: tuple[str, ...] = ()
    placement_groups: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.processes or self.actors or self.placement_groups)


def find_leftovers(run: RunDirectory) -> Leftovers:
    """What of a run is still there: its processes, and its claims in the Ray that this process uses.

    Without a connection to Ray only processes are looked for. Raises StorageError.
    """
    processes = tuple(process.pid for process in started_processes(run) if process.is_here())
    ray: Any = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return Leftovers(processes)
    return Leftovers(processes, _actors(ray, run.name), _placement_groups(ray, run.name))


def _actors(ray: Any, run: str) -> tuple[str, ...]:
    named = ray.util.list_named_actors(all_namespaces=True)
    return tuple(
        actor["name"]
        for actor in named
        if actor["namespace"] == NAMESPACE and actor["name"] == controller_name(run)
    )


def _placement_groups(ray: Any, run: str) -> tuple[str, ...]:
    tables = ray.util.placement_group_table().values()
    return tuple(
        str(table["name"])
        for table in tables
        if str(table["name"]).startswith(slot_prefix(run)) and table["state"] != "REMOVED"
    )
