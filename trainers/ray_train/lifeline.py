"""A connection from the controller to each worker over which nothing is ever said: the kernel closes it when
the process is gone, whoever lives to tell Ray.

Ray learns of a death from the raylet of the process. Where that is gone too, a call to the worker fails only
after a second or two.
"""

import asyncio
import socket
from typing import Final

Place = tuple[str, int]
_OPENS_WITHIN_S: Final = 2.0


def open_lifeline(host: str) -> tuple[socket.socket, Place]:
    """The worker's end; to be kept as long as the process lives. The kernel takes connections without us."""
    listener = socket.create_server((host, 0))
    return listener, (host, int(listener.getsockname()[1]))


async def cut(place: Place) -> None:
    """Return when the process at the other end is gone; never where it cannot be reached to begin with."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(*place), _OPENS_WITHIN_S)
    except (OSError, TimeoutError):
        await asyncio.Event().wait()
        return
    try:
        await reader.read()
    except OSError:
        pass  # reset: gone as well
    finally:
        writer.close()
