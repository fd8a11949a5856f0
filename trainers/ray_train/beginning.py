"""A run that does not begin: what it waits for, and for how long."""

from collections.abc import Callable, Mapping
from typing import Final

from orchestrator.domain.events import EventKind
from orchestrator.domain.status import EndReason
from trainers.elastic.job import WorkerJob
from trainers.ray_train.feed_keeper import FeedKeeper
from trainers.ray_train.happenings import End, GoOn, Happening, StartOverdue, Verdict
from trainers.ray_train.muster import Muster
from trainers.recorder import Recorder

_CAPACITY_HINT_AFTER_S: Final = 5.0


class Beginning:
    """Says after some seconds what is missing, and ends the attempt after `retry.start_timeout`."""

    def __init__(
        self,
        job: WorkerJob,
        recorder: Recorder,
        muster: Muster,
        feed: FeedKeeper,
        each: Mapping[str, float],
        later: Callable[[float, Happening], None],
    ) -> None:
        """`each` is what one worker claims."""
        self._timeout_s = job.spec.retry.start_timeout
        self._recorder = recorder
        self._muster = muster
        self._feed = feed
        self._each = each
        self._later = later

    def begin(self) -> None:
        for after_s in (_CAPACITY_HINT_AFTER_S, self._timeout_s):
            self._later(after_s, StartOverdue(after_s))

    def overdue(self, waited_s: float) -> Verdict:
        roster = self._muster.roster
        if roster.generation.number > 0:
            return GoOn()
        if self._feed.busy:
            self._later(waited_s, StartOverdue(waited_s))  # the rows come first
            return GoOn()
        placed, minimum = self._muster.num_placed, roster.minimum
        message = self._feed.wish or (
            f"{placed} of {minimum} workers have a place after {waited_s:.0f} s; each needs "
            f"{dict(self._each)}, which others hold or the cluster has not"
        )
        if waited_s >= self._timeout_s:
            return End(EndReason.NO_CAPACITY, message)
        if placed < minimum:
            self._recorder.event(EventKind.WAITING_FOR_CAPACITY, message)
            self._recorder.phase("waiting for capacity")
        return GoOn()
