"""The records of the newest steps of one worker, told to the controller by whoever is rank 0."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from trainers.elastic.messages import Offer, Report, StepPoint, StepsDone

_REPORT_EVERY_S: Final = 0.25
_KEEP: Final = 4096


class Points:
    """Every worker keeps them, for it may be rank 0 of the next generation."""

    def __init__(self, worker_id: str, report: Callable[[Report], None]):
        self._worker_id = worker_id
        self._report = report
        self._points: deque[StepPoint] = deque(maxlen=_KEEP)
        self._reported_step = 0
        self._reported_at = 0.0

    def append(self, point: StepPoint) -> None:
        self._points.append(point)

    def take_copied(self, point: StepPoint | None) -> None:
        """Who was one step behind when the group broke has the state of that step by copy, and must be able
        to tell of it."""
        if point is not None and self._points and self._points[-1].step == point.step - 1:
            self._points.append(point)

    def go_on_from(self, step: int, recorded_step: int) -> None:
        """What came after `step` is undone; what came after `recorded_step` is not on record yet."""
        while self._points and self._points[-1].step > step:
            self._points.pop()
        self._reported_step = min(recorded_step, step)

    def report(self, offer: Offer, *, force: bool) -> None:
        """Tell what has not been told; now and then, unless forced to."""
        now = time.monotonic()
        if not force and now - self._reported_at < _REPORT_EVERY_S:
            return
        new = tuple(point for point in self._points if point.step > self._reported_step)
        if new:
            self._report(StepsDone(self._worker_id, offer.generation, new, offer.members))
            self._reported_step = new[-1].step
            self._reported_at = now
