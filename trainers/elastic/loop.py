"""The life of one worker's training thread: become warm, then train in one generation after another."""

import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from torch.distributed import TCPStore

from trainers.elastic.checkpoint import restore_newest
from trainers.elastic.duties import Duties
from trainers.elastic.group import ElasticGroup, GroupBrokenError, Meeting, SupersededError
from trainers.elastic.mailbox import Mailbox
from trainers.elastic.messages import (
    Formed,
    GroupBroken,
    Offer,
    Outcome,
    Report,
    Retired,
    StepPoint,
    StepsDone,
)
from trainers.elastic.state import agree_on_newest
from trainers.elastic.step import StepRunner

_REPORT_EVERY_S = 0.25
_KEEP_POINTS = 4096
_SWITCH, _STOP = 0, 1


@dataclass(frozen=True)
class Surroundings:
    """What a worker knows of the place it runs in."""

    worker_id: str
    host: str
    """Address under which the other members reach this worker."""
    backend: str
    """`gloo` or `nccl`."""
    patience_s: float
    """How long a member may keep the others waiting before it counts as hung."""
    meeting_place: TCPStore
    """Served by this worker; it must live as long as the worker trains."""


class TrainingLoop:
    """Trains until the last step, a wish to stop, or a generation without this worker."""

    def __init__(
        self,
        here: Surroundings,
        mailbox: Mailbox,
        steps: StepRunner,
        duties: Duties,
        report: Callable[[Report], None],
        on_generation: Callable[[Offer, int], None],
    ):
        self._here = here
        self._mailbox = mailbox
        self._steps = steps
        self._state = steps.state
        self._duties = duties
        self._report = report
        self._on_generation = on_generation
        self._points: deque[StepPoint] = deque(maxlen=_KEEP_POINTS)
        self._reported_step = 0
        self._reported_at = 0.0
        self._begun_step = 0
        self._connections: dict[tuple[str, int], TCPStore] = {}
        self._step_log = _open_step_log()

    def run(self) -> Outcome:
        generation = 0
        while True:
            offer = self._mailbox.wait_newer_than(generation)
            if offer is None:
                return self._duties.finished(stopped=True)
            generation = offer.generation
            rank = offer.rank(self._here.worker_id)
            if rank is None:
                return Retired()
            try:
                with self._form(offer, rank) as group:
                    outcome = self._train(group, offer)
            except SupersededError:
                continue
            except GroupBrokenError as broken:
                self._report(GroupBroken(self._here.worker_id, generation, broken.reason, broken.absent))
                continue
            if outcome is not None:
                return outcome

    def _form(self, offer: Offer, rank: int) -> ElasticGroup:
        begun = time.perf_counter()
        meeting = Meeting(offer, rank, self._here.patience_s, self._connections)
        store = meeting.join(superseded=lambda: self._mailbox.newer_than(offer.generation))
        group = ElasticGroup(
            store,
            rank,
            len(offer.members),
            backend=self._here.backend,
            host=self._here.host,
            timeout_s=self._here.patience_s,
        )
        try:
            self._meet(group, offer, begun)
        except BaseException:
            group.close()
            raise
        return group

    def _meet(self, group: ElasticGroup, offer: Offer, begun: float) -> None:
        self._on_generation(offer, group.rank)
        agreed = agree_on_newest(group, self._state)
        form_s = time.perf_counter() - begun - agreed.copy_s
        source = offer.members[agreed.source] if agreed.step else "fresh"
        passed_over: list[tuple[str, str]] = []
        if agreed.step == 0 and offer.checkpoints:
            restored, passed_over = restore_newest(
                self._state, [Path(path) for path in offer.checkpoints], fingerprint=self._duties.fingerprint
            )
            source = str(restored) if restored else source
            agreed = agree_on_newest(group, self._state)
        begun_step = int(max(row.item() for row in group.gather(torch.tensor([self._begun_step]))))
        lost = max(begun_step, offer.recorded_step) - self._state.step
        while self._points and self._points[-1].step > self._state.step:
            self._points.pop()
        self._reported_step = min(offer.recorded_step, self._state.step)
        if group.rank == 0:
            self._report(
                Formed(
                    worker_id=self._here.worker_id,
                    generation=offer.generation,
                    step=self._state.step,
                    lost_steps=lost,
                    form_s=form_s,
                    copy_s=agreed.copy_s,
                    source=source,
                    skipped_checkpoints=tuple(passed_over),
                )
            )
            self._report_points(offer.generation, force=True)
        self._begun_step = self._state.step

    def _train(self, group: ElasticGroup, offer: Offer) -> Outcome | None:
        """Step until this generation is over; None when a newer one waits."""
        state = self._state
        while state.step < self._steps.num_steps:
            self._duties.at_step_boundary(group, offer.generation)
            self._begun_step = state.step + 1
            flags = torch.tensor(
                [self._mailbox.newer_than(offer.generation), self._mailbox.stop_requested],
                dtype=torch.float32,
            )
            point, raised = self._steps.step(group, flags, offer.generation)
            self._points.append(point)
            if self._step_log is not None:
                self._step_log.write(
                    json.dumps(
                        {
                            "t": point.time_s,
                            "step": point.step,
                            "rank": group.rank,
                            "world": group.size,
                            "pid": os.getpid(),
                        }
                    )
                    + "\n"
                )
            last = state.step == self._steps.num_steps
            switch, stop = bool(raised[_SWITCH] > 0), bool(raised[_STOP] > 0)
            if group.rank == 0:
                # A checkpoint must not be ahead of the record: what led to it could not be told any more.
                due = self._duties.checkpoint_due
                self._report_points(offer.generation, force=switch or stop or last or due)
            if stop and not last:
                return self._duties.finish(group, offer.generation, stopped=True)
            if switch:
                return None
        return self._duties.finish(group, offer.generation, stopped=False)

    def _report_points(self, generation: int, *, force: bool) -> None:
        now = time.monotonic()
        if not force and now - self._reported_at < _REPORT_EVERY_S:
            return
        new = tuple(point for point in self._points if point.step > self._reported_step)
        if new:
            self._report(StepsDone(self._here.worker_id, generation, new))
            self._reported_step = new[-1].step
            self._reported_at = now


def _open_step_log() -> TextIO | None:
    """For measurements: TUMBLER_STEP_LOG names a folder in which every worker logs every step it applies."""
    folder = os.environ.get("TUMBLER_STEP_LOG")
    return Path(folder, f"{os.getpid()}.jsonl").open("a", buffering=1) if folder else None
