"""Where a worker's training thread meets what the controller says."""

import threading
from collections.abc import Callable

from trainers.elastic.messages import Offer, Outcome, WorkerProfile
from trainers.elastic.progress import Progress

_LAST_CALL_S = 1.0


class Mailbox:
    """Thread-safe; the controller's calls arrive on other threads than the training thread."""

    def __init__(self) -> None:
        self.progress = Progress()
        """Of the training thread, for the controller's calls."""
        self._changed = threading.Condition()
        self._offer: Offer | None = None
        self._wake: Callable[[], None] | None = None
        self._stop = False
        self._ask = 0
        self._profile: WorkerProfile | None = None
        self._outcome: Outcome | None = None

    # the controller's side

    def offer(self, offer: Offer) -> None:
        """Take a generation; an older one than is known is ignored."""
        with self._changed:
            if self._offer is not None and offer.generation <= self._offer.generation:
                return
            self._offer = offer
            self._ask = offer.ask
            wake = self._wake if offer.urgent else None
            self._wake = None if offer.urgent else self._wake
            self._changed.notify_all()
        if wake is not None:
            wake()

    def request_stop(self) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()

    def ask_for_checkpoint(self, ask: int) -> None:
        """At the next step boundary. What the controller said last counts, be it by an offer."""
        with self._changed:
            self._ask = ask

    def wait_warm(self) -> WorkerProfile | Outcome:
        """Block until the worker is warm, or is over without having become so."""
        with self._changed:
            self._changed.wait_for(lambda: self._profile is not None or self._outcome is not None)
            profile, outcome = self._profile, self._outcome
        if profile is not None:
            return profile
        assert outcome is not None
        return outcome

    def wait_over(self) -> Outcome:
        """Block until the training thread has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._outcome is not None)
            assert self._outcome is not None
            return self._outcome

    # the training thread's side

    def in_group(self, generation: int, wake: Callable[[], None]) -> None:
        """The worker may wait in the group of this generation; an urgent offer calls `wake`, at most once."""
        with self._changed:
            newest = self._offer
            late = newest is not None and newest.generation > generation and newest.urgent
            self._wake = None if late else wake
        if late:
            wake()

    def announce_warm(self, profile: WorkerProfile) -> None:
        with self._changed:
            self._profile = profile
            self._changed.notify_all()

    def announce_over(self, outcome: Outcome) -> None:
        with self._changed:
            self._outcome = outcome
            self._changed.notify_all()

    def newest(self) -> Offer | None:
        with self._changed:
            return self._offer

    def newer_than(self, generation: int) -> bool:
        with self._changed:
            return self._offer is not None and self._offer.generation > generation

    @property
    def stop_requested(self) -> bool:
        with self._changed:
            return self._stop

    @property
    def ask(self) -> int:
        """Number of the checkpoint that is asked for; 0 for none."""
        with self._changed:
            return self._ask

    def wait_newer_than(self, generation: int) -> Offer | None:
        """Block until a newer generation is offered; None when the worker is asked to stop and none comes."""

        def newer() -> Offer | None:
            return self._offer if self._offer is not None and self._offer.generation > generation else None

        with self._changed:
            self._changed.wait_for(lambda: self._stop or newer() is not None)
            # A group that broke just before the wish to stop may still meet again and commit a last
            # checkpoint.
            self._changed.wait_for(lambda: newer() is not None, timeout=_LAST_CALL_S)
            return newer()
