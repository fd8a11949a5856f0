"""The end of a process is seen at the other end of a connection that nobody accepts."""

import asyncio
import subprocess
import sys
import time

import pytest

from trainers.ray_train.lifeline import cut

HOLDER = """
import sys, time
from trainers.ray_train.lifeline import open_lifeline
listener, place = open_lifeline("127.0.0.1")
print(place[1], flush=True)
time.sleep(60)
"""


async def test_a_killed_process_cuts_its_lifeline_at_once() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    port = int(await asyncio.to_thread(holder.stdout.readline))
    watch = asyncio.create_task(cut(("127.0.0.1", port)))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(watch), 0.3)
    begun = time.monotonic()
    holder.kill()
    await asyncio.wait_for(watch, 5.0)
    assert time.monotonic() - begun < 1.0
    holder.wait()
    holder.stdout.close()


async def test_a_place_that_cannot_be_reached_says_nothing() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(cut(("127.0.0.1", 1)), 0.3)
