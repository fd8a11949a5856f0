"""Whether a node is still there: asked of the node itself.

A worker that was lost may have gone with its node, and the GCS takes up to a quarter of a minute to see that.
What is placed there meanwhile waits as long.
"""

import asyncio
from typing import Final

import ray
from ray.exceptions import RayError

_ANSWERS_WITHIN_S: Final = 1.0


async def node_answers(node_id: str) -> bool:
    """False where nobody listens at the address of its raylet; True where it cannot be found out."""
    try:
        place = await asyncio.to_thread(_address, node_id)
    except (RayError, ConnectionError, RuntimeError):
        return True  # the GCS is away
    if place is None:
        return False
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(*place), _ANSWERS_WITHIN_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _address(node_id: str) -> tuple[str, int] | None:
    for node in ray.nodes():
        if node["NodeID"] == node_id and node["Alive"]:
            return str(node["NodeManagerAddress"]), int(node["NodeManagerPort"])
    return None
