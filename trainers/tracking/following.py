"""One tracker, told what the journal of metrics says, as it grows and until the run is over."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic as process_monotonic
from typing import Any, Final

from orchestrator.domain.journal import JournalReader
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus
from trainers.tracking.tracker import Tracker

_LOOK_EVERY_S: Final = 0.5
_AT_ONCE: Final = 500
_PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Between attempts to reach it; the last one again and again."""
_PATIENCE_S: Final = 600.0
"""For how long it is tried after the run is over; the journal keeps everything."""

Say = Callable[[dict[str, Any]], None]
"""Takes what should become an event: `kind`, `message` and facts."""
Wait = Callable[[float], object]


class Outcome(StrEnum):
    TOLD = "told"
    """It has everything."""
    LEFT = "left"
    """A newer attempt tells it the rest."""
    GIVEN_UP = "given up"


@dataclass
class Follower:
    """Never raises: a tracker that is down is tried again, and said once."""

    name: str
    tracker: Tracker
    run: RunDirectory
    attempt: int
    say: Say
    gone: threading.Event
    """The controller is: what is there now is told, and the next attempt tells the rest."""
    wait: Wait
    monotonic: Callable[[], float] = process_monotonic
    patience_s: float = _PATIENCE_S
    _failures: int = 0
    _seq: int | None = None
    _over_since: float | None = None

    def follow(self) -> Outcome:
        self._reader = JournalReader(self.run.outbox, "metrics")
        while True:
            try:
                outcome = self._turn()
            except Exception as error:  # what trackers raise is theirs
                self._failed(error)
                if self._patience_is_over():
                    return Outcome.GIVEN_UP
                self.wait(_PAUSES_S[min(self._failures, len(_PAUSES_S)) - 1])
                continue
            if outcome is not None:
                return outcome
            self.wait(_LOOK_EVERY_S)

    def _turn(self) -> Outcome | None:
        """Tell all that there is. The status first: what comes after it is of the next look."""
        gone, ending = self.gone.is_set(), self._ending()
        if self._seq is None:
            self._seq = self.tracker.open()
        while records := self._reader.read(self._seq, _AT_ONCE):
            self.tracker.tell(records)
            self._seq = records[-1]["seq"]
        if self._failures:
            self._failures = 0
            self._say("tracker-healed", f"{self.name} takes metrics again, and has them all")
        if ending is not None:
            self.tracker.finish(ending)
        if ending is None and not gone:
            return None
        self.tracker.close()
        return Outcome.TOLD if ending is not None else Outcome.LEFT

    def _ending(self) -> RunStatus | None:
        """How our attempt ended; None while it goes on."""
        state = self.run.read_status()
        over = state.attempt == self.attempt and state.reason is not None
        if over and self._over_since is None:
            self._over_since = self.monotonic()
        if state.attempt > self.attempt:
            self.gone.set()
            self._over_since = None
        return state.status if over else None

    def _say(self, kind: str, message: str) -> None:
        self.say({"kind": kind, "message": message, "tracker": self.name})

    def _failed(self, error: Exception) -> None:
        if self._failures == 0:
            sentence = " ".join(str(error).split())[:300] or type(error).__name__
            message = (
                f"{self.name} takes no metrics, which training does not notice; trying again: {sentence}"
            )
            self._say("tracker-failed", message)
        self._failures += 1
        self._seq = None
        try:
            self.tracker.close()
        except Exception as second:
            print(f"{self.name}: {second}", flush=True)

    def _patience_is_over(self) -> bool:
        if self.gone.is_set() and self._over_since is None:
            return True  # it may never be over; the next attempt tries too
        return self._over_since is not None and self.monotonic() - self._over_since > self.patience_s
