"""The life of one worker's training thread: become warm, then train in one generation after another."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch.distributed import TCPStore

from orchestrator.domain.vigil import Phase
from orchestrator.domain.votes import Vote
from trainers.elastic.duties import Duties
from trainers.elastic.group import ElasticGroup, GroupBrokenError, Meeting, SupersededError
from trainers.elastic.mailbox import Mailbox
from trainers.elastic.messages import (
    Entered,
    Formed,
    GroupBroken,
    Offer,
    Outcome,
    ReplicasDiffer,
    Report,
    Retired,
    StepNotFinite,
    StepPoint,
)
from trainers.elastic.points import Points
from trainers.elastic.state import Agreement, TrainState, agree_on_newest
from trainers.elastic.step import NotFiniteError, StepRunner
from trainers.elastic.step_log import StepLog
from trainers.elastic.trouble import find_first, find_own, told
from trainers.elastic.verification import Verification, flip_bit
from trainers.elastic.watched_group import WatchedGroup

Restore: TypeAlias = Callable[[ElasticGroup, TrainState, Offer], tuple[str | None, list[tuple[str, str]]]]
"""Restores the newest good snapshot or checkpoint, in all members or some; what it was, and (what, reason) of
those passed over."""

_SWITCH, _STOP, _SAVE, _SNAPSHOT, _PACES = range(5)
"""Places of the flags; from the last one on, each rank has one for its pace. To save is the number of the
ask, all others are wishes by yes or no."""
_DIAGNOSE_EVERY_S = 10.0
"""To find who made a step not finite costs a part of a step."""


class DistrustError(Exception):
    """The members cannot go on from here; what the controller is to know."""

    def __init__(self, report: StepNotFinite | ReplicasDiffer):
        super().__init__(report)
        self.report = report


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
        verification: Verification,
        restore: Restore,
        on_nan: Literal["skip", "rollback", "fail"],
        linked: Callable[[StepPoint], StepPoint] = lambda point: point,
    ):
        self._here = here
        self._progress = mailbox.progress
        self._verification = verification
        self._restore = restore
        self._on_nan = on_nan
        self._trained = False
        self._diagnosed_at = -_DIAGNOSE_EVERY_S
        self._mailbox = mailbox
        self._steps = steps
        self._state = steps.state
        self._duties = duties
        self._report = report
        self._on_generation = on_generation
        self._linked = linked
        self._points = Points(here.worker_id, report)
        self._begun_step = 0
        self._connections: dict[tuple[str, int], TCPStore] = {}
        self._step_log = StepLog()

    def run(self) -> Outcome:
        generation = 0
        while True:
            self._progress.enter(Phase.MEET)
            with self._progress.waiting():
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
            except DistrustError as error:
                self._report(error.report)
                continue
            except GroupBrokenError as broken:
                self._report(GroupBroken(self._here.worker_id, generation, broken.reason, broken.absent))
                continue
            if outcome is not None:
                return outcome

    def announce(self, phase: Phase) -> None:
        """Tell the controller of a phase."""
        offer = self._mailbox.newest()
        if offer is not None:
            self._report(Entered(self._here.worker_id, offer.generation, phase))

    def _form(self, offer: Offer, rank: int) -> ElasticGroup:
        begun = time.perf_counter()
        meeting = Meeting(offer, rank, self._here.patience_s, self._connections)
        with self._progress.waiting():
            store = meeting.join(superseded=lambda: self._mailbox.newer_than(offer.generation))
        group = WatchedGroup(
            store,
            rank,
            len(offer.members),
            backend=self._here.backend,
            host=self._here.host,
            timeout_s=self._here.patience_s,
            progress=self._progress,
        )
        self._mailbox.in_group(offer.generation, group.wake)
        try:
            self._meet(group, offer, begun)
        except BaseException:
            group.close()
            raise
        return group

    def _meet(self, group: ElasticGroup, offer: Offer, begun: float) -> None:
        self._on_generation(offer, group.rank)
        if offer.rewind_to is not None and self._state.step > 0:
            self._go_back(offer.rewind_to)
        agreed = agree_on_newest(group, self._state)
        form_s = time.perf_counter() - begun - agreed.copy_s
        self._check_witnesses(agreed, offer)
        source = offer.members[agreed.source] if agreed.step else "fresh"
        passed_over: list[tuple[str, str]] = []
        if agreed.step == 0 and offer.recorded_step:
            self._progress.enter(Phase.RESTORE)
            restored, passed_over = self._restore(group, self._state, offer)
            self._progress.enter(Phase.MEET)
            source = restored or source
            agreed = agree_on_newest(group, self._state)
        if agreed.copied:
            self._points.take_copied(self._state.newest_point)
        mine = torch.tensor([self._begun_step, self._duties.answered])
        begun_step, answered = torch.stack(group.gather(mine)).amax(dim=0).tolist()
        committed = [found.step for found in offer.checkpoints]
        self._duties.formed(group.rank, self._state.step, committed, answered, offer.nodes)
        lost = max(begun_step, offer.recorded_step) - self._state.step
        self._points.go_on_from(self._state.step, offer.recorded_step)
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
            self._points.report(offer, force=True)
        self._begun_step = self._state.step

    def _go_back(self, newest_step: int) -> None:
        self._progress.enter(Phase.RESTORE)
        self._verification.go_back(newest_step)
        self._duties.distrust(newest_step)
        self._steps.forget()
        self._progress.enter(Phase.MEET)

    def _train(self, group: ElasticGroup, offer: Offer) -> Outcome | None:
        """Step until this generation is over; None when a newer one waits."""
        state = self._state
        self._progress.take_computed_s()
        while state.step < self._steps.num_steps:
            self._at_step_boundary(group, offer)
            self._steps.await_input(lambda: self._called_away(offer.generation))
            self._begun_step = state.step + 1
            raised = self._step(group, offer)
            last = state.step == self._steps.num_steps
            switch, stop = bool(raised[_SWITCH] > 0), bool(raised[_STOP] > 0)
            if not switch or (stop and not last):  # else it is for the next generation
                self._duties.answer(int(raised[_SAVE]), snapshot=bool(raised[_SNAPSHOT] > 0))
            if group.rank == 0:
                # A copy must not be ahead of the record: what led to it could not be told any more.
                self._points.report(offer, force=switch or stop or last or self._duties.saves)
            if stop and not last:
                return self._finish(group, offer, stopped=True)
            if switch:
                return None
        return self._finish(group, offer, stopped=False)

    def _at_step_boundary(self, group: ElasticGroup, offer: Offer) -> None:
        for flip in self._progress.take_flips():
            flip_bit(self._state, flip)
        verification = self._verification
        if verification.due(self._state.step) or self._duties.checkpoint_due:
            self._verify(group, offer)
        self._duties.at_step_boundary(group, offer.generation)

    def _finish(self, group: ElasticGroup, offer: Offer, *, stopped: bool) -> Outcome:
        self._verify(group, offer)
        return self._duties.finish(group, offer.generation, stopped=stopped)

    def _step(self, group: ElasticGroup, offer: Offer) -> torch.Tensor:
        """Do the next step; returns the flags, the greatest of all members."""
        first, last = self._steps.owned(group)
        flags = torch.zeros(_PACES + group.size)
        flags[_SWITCH] = self._mailbox.newer_than(offer.generation)
        flags[_STOP] = self._mailbox.stop_requested
        flags[_SAVE] = self._duties.unanswered(self._mailbox.ask)
        flags[_SNAPSHOT] = group.rank == 0 and self._duties.wants_snapshot()
        flags[_PACES + group.rank] = self._progress.take_computed_s() / max(1, last - first)
        self._progress.enter(Phase.STEP if self._trained else Phase.FIRST_STEP)
        self._steps.may_skip = lambda step: self._on_nan == "skip" or step in offer.tolerated
        try:
            point, raised = self._steps.step(group, flags, offer.generation)
        except NotFiniteError:
            raise DistrustError(find_first(self._steps, group, offer, self._here.worker_id)) from None
        self._trained = True
        self._state.newest_point = self._linked(replace(point, compute_s=tuple(raised[_PACES:].tolist())))
        self._points.append(self._state.newest_point)
        self._step_log.write(point, group.rank)
        if point.skipped and self._on_nan == "skip":  # else it was told when it was rolled back
            self._diagnose(group, offer)
        return raised

    def _verify(self, group: ElasticGroup, offer: Offer) -> None:
        vote = self._verification.compare(group)
        if not vote.agreed:
            # A copy of this very step can only be one of a group that did not see the difference.
            self._distrust(offer, vote, offer.members, rewind_to=self._state.step - 1)

    def _check_witnesses(self, agreed: Agreement, offer: Offer) -> None:
        """Those who come with the newest step come with the same bits, or nobody is to use them."""
        members = tuple(offer.members[rank] for rank, _ in agreed.witnesses)
        vote = self._verification.count(agreed.step, [checksum for _, checksum in agreed.witnesses])
        if not vote.agreed:
            self._distrust(offer, vote, members, rewind_to=agreed.step)

    def _distrust(self, offer: Offer, vote: Vote, members: tuple[str, ...], *, rewind_to: int) -> None:
        raise DistrustError(
            ReplicasDiffer(
                worker_id=self._here.worker_id,
                generation=offer.generation,
                step=self._state.step,
                rewind_to=rewind_to,
                outvoted=tuple(members[place] for place in vote.outvoted),
                members=members,
            )
        )

    def _diagnose(self, group: ElasticGroup, offer: Offer) -> None:
        """Say so if it was this worker that made the skipped step not finite."""
        now = time.monotonic()
        if now - self._diagnosed_at < _DIAGNOSE_EVERY_S:
            return
        self._diagnosed_at = now
        found = find_own(self._steps, group, self._state.step)
        if found is not None:
            self._report(told(self._steps, offer, self._here.worker_id, self._state.step, *found, group.rank))

    def _called_away(self, generation: int) -> bool:
        return self._mailbox.newer_than(generation) or self._mailbox.stop_requested
