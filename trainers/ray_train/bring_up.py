"""Start one worker, and watch it until it is over. A task of its own per worker: nobody waits for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from trainers.elastic.messages import WorkerProfile
from trainers.ray_train.happenings import Happening, Lost, Over, Placed, Started, Warm
from trainers.ray_train.internals import DistributedContext, WorkerGroupContext, bundle_to_remote_args
from trainers.ray_train.slots import SlotPool
from trainers.ray_train.worker import CONCURRENCY_GROUPS, ElasticWorker

_ALONE = DistributedContext(world_rank=0, world_size=1, local_rank=0, local_world_size=1, node_rank=0)
"""Until a generation names it, a worker is a world of its own."""


@dataclass(frozen=True)
class Start:
    worker_id: str
    slots: SlotPool
    worker_cls: type[ElasticWorker]
    context: WorkerGroupContext
    delay_s: float


async def bring_up(start: Start, arguments: dict[str, Any], tell: Callable[[Happening], None]) -> None:
    """Wait for a place, start the process and the training thread there, and tell what becomes of the worker."""
    await asyncio.sleep(start.delay_s)
    slot = await start.slots.take()
    resources = start.context.resources_per_worker
    actor_cls = ray.remote(
        runtime_env=arguments["runtime_env"],
        concurrency_groups=CONCURRENCY_GROUPS,
        **bundle_to_remote_args(resources),
    )(start.worker_cls)
    actor = actor_cls.options(scheduling_strategy=slot.scheduling_strategy).remote(start.worker_id)
    tell(Placed(start.worker_id, actor, slot))
    metadata = actor.get_metadata.remote()
    # Sent at once, done in this order: no round trip between them.
    begun = [
        actor.init_train_context.remote(
            train_run_context=arguments["train_run_context"],
            distributed_context=_ALONE,
            synchronization_actor=None,
            storage_context=arguments["storage_context"],
            worker_callbacks=arguments["worker_callbacks"],
            controller_actor=ray.get_runtime_context().current_actor,
        ),
        actor.run_train_fn.remote(start.context.train_fn_ref),
    ]
    try:
        tell(Started(start.worker_id, await metadata))
        await asyncio.gather(*begun)
        said = await actor.wait_warm.remote()
        if isinstance(said, WorkerProfile):
            tell(Warm(said))
        tell(Over(start.worker_id, await actor.wait_over.remote()))
    except RayError as error:
        tell(Lost(start.worker_id, _cause(error)))


def _cause(error: RayError) -> str:
    """Why a worker is gone, in half a sentence."""
    if isinstance(error, OutOfMemoryError):
        return "its node ran out of memory and Ray ended it"
    if isinstance(error, RayActorError):
        if "its node has died" in str(error):
            return "its node died"
        return "its process died"
    return str(error).strip().splitlines()[-1]
