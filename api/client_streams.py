"""The live stream of a run: server-sent events, taken up again where the connection was lost."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from api.client_errors import error_of
from orchestrator.domain.errors import ServiceUnreachable, TumblerError

_PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Between attempts to come back; the last one again and again."""
_GIVES_UP_AFTER_S: Final = 120.0
_MAX_SILENCE_S: Final = 45.0
"""The service says something at least every 15 s."""


@dataclass(frozen=True)
class StreamEvent:
    """One thing that was streamed: `status`, `event`, `metric`, `worker`, `log` or `end`."""

    kind: str
    data: Any
    id: str = ""


Connect = Callable[[str], AbstractContextManager[httpx2.Response]]
"""Opens the stream after an id; the empty one is its beginning."""


def follow(
    connect: Connect,
    *,
    last_id: str = "",
    on_trouble: Callable[[str], None] = lambda sentence: None,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[StreamEvent]:
    """Everything until `end`, once each, however often the connection breaks on the way.

    `on_trouble` is told once per interruption. Raises ServiceUnreachable after two minutes without a word,
    and what the service says when it refuses.
    """
    heard_s, failures = monotonic(), 0
    while True:
        why = "it closed the stream"
        try:
            with connect(last_id) as response:
                if response.status_code >= 400:
                    response.read()
                    raise _Refused(error_of(response), response.status_code)
                for found in httpx2.EventSource(response):
                    heard_s, failures = monotonic(), 0
                    last_id = found.id or last_id
                    yield StreamEvent(found.event, found.json() if found.data else None, found.id)
                    if found.event == "end":
                        return
        except httpx2.TransportError as error:
            why = str(error) or type(error).__name__
        except _Refused as refused:
            if refused.status < 500:
                raise refused.error from None
            why = str(refused.error)
        if failures == 0:
            on_trouble(f"the stream of the service broke off ({why}), trying again; training is not affected")
        if monotonic() - heard_s > _GIVES_UP_AFTER_S:
            raise ServiceUnreachable(f"the service was not heard of for {_GIVES_UP_AFTER_S:.0f} s: {why}")
        sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
        failures += 1


class _Refused(Exception):
    def __init__(self, error: TumblerError, status: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.status = status


def stream_timeout(connect_s: float) -> httpx2.Timeout:
    return httpx2.Timeout(connect_s, read=_MAX_SILENCE_S)
