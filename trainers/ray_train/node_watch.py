"""Asks Ray which nodes will be gone: spot notices, `ray drain-node` and autoscalers all tell Ray."""

import asyncio
from collections.abc import Callable
from typing import Final

from trainers.ray_train.happenings import NodesDrain
from trainers.ray_train.internals import draining_nodes

_LOOK_EVERY_S: Final = 0.5


class NodeWatch:
    """A task of its own: one small question to the GCS twice a second. While that is away, nothing is
    new."""

    def __init__(self, tell: Callable[[NodesDrain], None]) -> None:
        self._tell = tell
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def close(self) -> None:
        """Safe to call twice."""
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        known: dict[str, float | None] = {}
        while True:
            try:
                found = await asyncio.to_thread(draining_nodes)
            except Exception:  # Ray raises what it likes while the GCS is away
                found = None
            if found is not None:
                deadlines = {node_id: at_ms / 1000 or None for node_id, at_ms in found.items()}
                if deadlines != known:
                    known = deadlines
                    self._tell(NodesDrain(deadlines))
            await asyncio.sleep(_LOOK_EVERY_S)
