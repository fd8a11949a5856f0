"""Start one worker, and watch it until it is over. A task of its own per worker: nobody waits for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from trainers.elastic.messages import WorkerProfile
from trainers.ray_train.happenings import Happening, Lost, Over, Placed, Started, Warm
from trainers.ray_train.internals import (
    DistributedContext,
    WorkerGroup,
    WorkerGroupContext,
    bundle_to_remote_args,
)
from trainers.ray_train.lifeline import cut
from trainers.ray_train.slots import SlotPool
from trainers.ray_train.worker import CONCURRENCY_GROUPS, ElasticWorker

_SAID_WITHIN_S: Final = 0.06
"""Between the death of a process and what Ray says of it, where it can; 12 ms is usual."""
_ALONE = DistributedContext(world_rank=0, world_size=1, local_rank=0, local_world_size=1, node_rank=0)
"""Until a generation names it, a worker is a world of its own."""


@dataclass(frozen=True)
class WorkerStarter:
    """How workers of a run are started, and who is told what becomes of them."""

    worker_cls: type[ElasticWorker]
    group: WorkerGroupContext
    runtime_env: dict[str, Any]
    train_context: dict[str, Any]
    """What Ray Train tells every worker: run context, storage, callbacks."""
    tell: Callable[[Happening], None]

    async def bring_up(self, worker_id: str, slots: SlotPool, delay_s: float) -> None:
        """Wait for a place, start the process and the training thread there, and watch until the end."""
        try:
            await self._bring_up(worker_id, slots, delay_s)
        except Exception as error:  # whatever it is, a worker that never comes must not be waited for
            self.tell(Lost(worker_id, f"it could not be started: {type(error).__name__}: {error}"))

    async def _bring_up(self, worker_id: str, slots: SlotPool, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        slot = await slots.take()
        actor_cls = ray.remote(
            runtime_env=self.runtime_env,
            concurrency_groups=CONCURRENCY_GROUPS,
            **bundle_to_remote_args(self.group.resources_per_worker),
        )(self.worker_cls)
        actor = actor_cls.options(scheduling_strategy=slot.scheduling_strategy).remote(worker_id)
        self.tell(Placed(worker_id, actor, slot))
        # All sent at once, done in this order: no round trip between them.
        metadata = actor.get_metadata.remote()
        begun = [
            actor.init_train_context.remote(
                **self.train_context,
                distributed_context=_ALONE,
                synchronization_actor=None,
                controller_actor=ray.get_runtime_context().current_actor,
            ),
            actor.run_train_fn.remote(self.group.train_fn_ref),
        ]
        lifeline = asyncio.create_task(_cut(actor))
        life = asyncio.create_task(self._live(worker_id, actor, metadata, begun))
        try:
            await asyncio.wait((life, lifeline), return_when=asyncio.FIRST_COMPLETED)
            # What Ray says is preferred: it knows more.
            await asyncio.wait((life,), timeout=_SAID_WITHIN_S)
            if not life.done():
                self.tell(Lost(worker_id, "its process died"))
        finally:
            life.cancel()
            lifeline.cancel()

    async def _live(self, worker_id: str, actor: Any, metadata: Any, begun: list[Any]) -> None:
        """Tell how a worker comes and goes, as its own calls say."""
        try:
            self.tell(Started(worker_id, actor._actor_id.hex(), await metadata))
            await asyncio.gather(*begun)
            said = await actor.wait_warm.remote()
            if isinstance(said, WorkerProfile):
                self.tell(Warm(said))
            self.tell(Over(worker_id, *await actor.wait_over.remote()))
        except RayError as error:
            self.tell(Lost(worker_id, _cause(error)))


async def _cut(actor: Any) -> None:
    """Return when the process of a worker is gone, however that came."""
    try:
        place = await actor.open_lifeline.remote()
    except RayError:
        await asyncio.Event().wait()  # its other calls say so
    await cut(place)


def starter_of(
    group: WorkerGroup, context: WorkerGroupContext, tell: Callable[[Happening], None]
) -> WorkerStarter:
    """What Ray's worker group would tell its workers."""
    return WorkerStarter(
        worker_cls=group._worker_cls,
        group=context,
        runtime_env=group._get_worker_runtime_env(
            custom_runtime_env=group._train_run_context.run_config.worker_runtime_env
        ),
        train_context={
            "train_run_context": group._train_run_context,
            "storage_context": group._storage_context,
            "worker_callbacks": group._worker_callbacks_to_propagate,
        },
        tell=tell,
    )


def _cause(error: RayError) -> str:
    """Why a worker is gone, in half a sentence."""
    if isinstance(error, OutOfMemoryError):
        return "its node ran out of memory and Ray ended it"
    if isinstance(error, RayActorError):
        return "its node died" if "its node has died" in str(error) else "its process died"
    return str(error).strip().splitlines()[-1]
