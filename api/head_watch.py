"""Looks after the Ray head that `tumbler up` started: what died of it is started again."""

import asyncio
from pathlib import Path
from typing import Final

import structlog

from cluster.head import Head
from cluster.keeper import HeadKeeper

_LOOK_EVERY_S: Final = 1.0
_log = structlog.get_logger()


async def keep_head(home: Path) -> None:
    """Until it is cancelled."""
    watch = HeadWatch(home)
    trouble: str | None = None
    while True:
        try:
            for program in await asyncio.to_thread(watch.look):
                _log.warning("a part of the Ray head was gone and is started again", program=program)
            trouble = None
        except Exception as error:  # whatever is wrong with Ray must not end the service
            if str(error) != trouble:
                trouble = str(error)
                _log.warning("the Ray head could not be looked after", error=trouble)
        await asyncio.sleep(_LOOK_EVERY_S)


class HeadWatch:
    """Has the keeper of the head that the home has now; for one thread at a time."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._head: Head | None = None
        self._keeper: HeadKeeper | None = None

    def look(self) -> list[str]:
        """The programs that had to be started again."""
        head = Head.recorded(self._home)
        if head != self._head:
            self._head, self._keeper = head, None if head is None else HeadKeeper(head)
        return [] if self._keeper is None else self._keeper.look()
