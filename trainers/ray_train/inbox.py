"""What happened, one after another, and what each worker says in the order in which it was said."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from trainers.ray_train.happenings import Happening, Said


@dataclass
class _Voice:
    """Of one worker."""

    heard: int = 0
    early: dict[int, Said] = field(default_factory=dict)
    """By number: those before them are still on the way."""


class Inbox:
    """The calls of an async actor may begin in another order than they were made (Ray: such an actor executes
    out of order); on a busy machine they do. A step that came after its successor would be off the record.

    What is said twice is heard once.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Happening] = asyncio.Queue()
        self._voices: defaultdict[str, _Voice] = defaultdict(_Voice)

    def put(self, happening: Happening) -> None:
        if not isinstance(happening, Said):
            self._queue.put_nowait(happening)
            return
        voice = self._voices[happening.worker_id]
        if happening.number > voice.heard:
            voice.early[happening.number] = happening
        while (due := voice.early.pop(voice.heard + 1, None)) is not None:
            voice.heard += 1
            self._queue.put_nowait(due)

    async def get(self) -> Happening:
        return await self._queue.get()
