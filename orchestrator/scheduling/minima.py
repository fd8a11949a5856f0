"""The first half of a decision: who gets the fewest workers it needs, and who has to leave for that.

Living runs keep their fewest workers; all beyond is theirs only as long as nobody else needs it. So whoever
waits takes surplus first, without being told to: it is given out anew in `surplus`, after this. Only where
that is not enough, a run of strictly higher priority takes all workers of others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.domain.events import timestamp
from orchestrator.domain.runs import Run
from orchestrator.ports.cluster import ClusterView
from orchestrator.scheduling import sentences
from orchestrator.scheduling.order import InLine, Line, holds, is_fixed, is_harmed, is_leaving, standing
from orchestrator.scheduling.policy import Policy, Surplus
from orchestrator.scheduling.room import need_of
from orchestrator.scheduling.speed import End
from orchestrator.scheduling.tally import Lack, Tally

_MOST_BLOCKED = 8
"""So many who wait for room are put first when another one asks whom it may preempt."""
_MOST_SPARED = 64
"""Of so many who would have to leave it is tried whether they really have to."""


@dataclass
class Minima:
    """Who gets what at least. `settle` fills it in."""

    view: ClusterView
    policy: Policy
    now: datetime
    active: Sequence[Run]
    ends: Sequence[End]
    """Of those among them of which it is known, the first one first."""
    tally: Tally
    """Granted and held, nothing set aside."""
    guarded: Tally
    """The same, and what is set aside for those who do not fit yet."""
    grants: dict[str, Run] = field(default_factory=dict)
    """Who starts; with its fewest workers, which is more than nothing."""
    raised: dict[str, Run] = field(default_factory=dict)
    """Living runs that were scaled to a greater minimum and get it now."""
    stranded: dict[str, Run] = field(default_factory=dict)
    """Living runs whose fewest workers are more than there is."""
    preempted: dict[str, tuple[Run, Run]] = field(default_factory=dict)
    """Run id -> (it, for whom)."""
    soon: list[Run] = field(default_factory=list)
    """Those whose places are being left for them, or who start when their back-off is over: what is set aside
    for them is lent to nobody."""
    waits: dict[str, str] = field(default_factory=dict)
    shares: dict[str, str] = field(default_factory=dict)
    """Living runs that have less than their minimum, and why."""
    hopeless: dict[str, str] = field(default_factory=dict)
    """Gang claim that these nodes can never hold -> why."""
    blocked: list[Run] = field(default_factory=list)
    """Those who wait for room, in order."""
    behind: dict[str, list[Run]] = field(default_factory=dict)
    """Queue -> those who wait for their turn only, in order."""
    halted: set[str] = field(default_factory=set)
    """Queues whose first run cannot start yet: the others wait behind it."""
    _no_room: set[str] = field(default_factory=set)
    """Gang claims that do not fit any more in this round."""
    _no_victims: dict[tuple[str, str], int] = field(default_factory=dict)
    """(queue, gang claim) -> priority up to which preempting would not help."""

    def settle(self, waiting: InLine) -> None:
        alive = frozenset(node.id for node in self.view.nodes if node.alive)
        for run in standing(self.active, alive):
            workers = holds(run, alive)
            whole = self.tally.hold(run, workers)
            self.guarded.hold(run, workers)
            if not whole and not is_fixed(run):
                self.stranded[run.id] = run
        for run in self.stranded.values():
            self._rescue(run, alive)
        for run in self.active:
            if not is_fixed(run) and run.target < run.workers_min and run.id not in self.stranded:
                self._raise(run)
        fair = self.policy.surplus is not Surplus.FIFO
        line = Line(waiting, self.tally.share if fair else lambda queue: 0.0)
        for run in line:
            if run.not_before is not None and run.not_before > timestamp(self.now):
                self._keep_place(run)
            else:
                self._start(run)
            if run.queue in self.halted:
                self.behind[run.queue] = line.rest(run.queue)

    # living runs

    def _rescue(self, run: Run, alive: frozenset[str]) -> None:
        """A node is gone, and with it more than the surplus."""
        better = [each for each in self.active if each.priority > run.priority and is_harmed(each, alive)]
        if better and not is_harmed(run, alive) and self.policy.preemption:
            self.preempted[run.id] = run, better[0]  # it still has what the better claim lost
            return
        for_it = self._victims(run) if self.policy.preemption else None
        self.shares[run.id] = sentences.stranded(run, self.view, leaving=bool(for_it))
        for victim in for_it or ():
            self.preempted[victim.id] = victim, run

    def _raise(self, run: Run) -> None:
        more = run.workers_min - run.target
        trial = self.guarded.copy()
        if trial.take_more(run, more) == more:
            self.guarded = trial
            self.tally.take_more(run, more)
            self.raised[run.id] = run
        else:
            self.shares[run.id] = (
                f"{run.target} of {run.workers_min} workers: there is no room for the others"
            )

    # those who wait

    def _keep_place(self, run: Run) -> None:
        """Its back-off is short, and no reason to lose its turn to others: its places are kept for it."""
        if self.guarded.take(run, run.workers_min) is None:
            self.soon.append(run)
        elif not self._never_fits(run):
            self._block(run)

    def _start(self, run: Run) -> None:
        lack = Lack.ROOM if run.gang_claim in self._no_room else self.guarded.take(run, run.workers_min)
        if lack is None:
            self.tally.take(run, run.workers_min)
            self.grants[run.id] = run
            return
        if self._never_fits(run):
            return
        if lack is Lack.QUOTA and (never := self._never_within(run)) is not None:
            self.waits[run.id] = never
            return
        for_it = self._victims(run)
        if for_it is not None:
            self.soon.append(run)
            self.waits[run.id] = sentences.makes_room(run, for_it or self._leaving())
            for victim in for_it:
                self.preempted[victim.id] = victim, run
            self._block(run)
        elif lack is Lack.QUOTA:
            self.waits[run.id] = sentences.at_quota(run, self.ends, self.tally)
            self.halted.add(run.queue)
        else:
            self._no_room.add(run.gang_claim)
            self.waits[run.id] = self._why_no_room(run)
            self._block(run)

    def _why_no_room(self, run: Run) -> str:
        if self.blocked and self.tally.copy().take(run, run.workers_min) is None:
            return sentences.kept_for(self.blocked[0])
        return sentences.does_not_fit(run, self.active, self.ends, self.tally, self.view)

    def _block(self, run: Run) -> None:
        """What there is of its places is kept for it, and those of its queue wait behind it."""
        self.guarded.reserve(run, run.workers_min)
        self.blocked.append(run)
        self.halted.add(run.queue)

    def _never_fits(self, run: Run) -> bool:
        """Then it says so, and keeps nobody waiting."""
        claim = run.gang_claim
        if claim not in self.hopeless:
            said = sentences.never_fits(run, self.view)
            if said is None:
                return False
            self.hopeless[claim] = said
        self.waits[run.id] = self.hopeless[claim]
        return True

    def _never_within(self, run: Run) -> str | None:
        return sentences.never_within(need_of(run), run.workers_min, self.tally.queues[run.queue])

    # who has to leave

    def _leaving(self) -> list[Run]:
        return [run for run in self.active if is_leaving(run)]

    def _victims(self, run: Run) -> list[Run] | None:
        """Who has to leave so that it fits; nobody where those who leave already are enough.

        None where it would not fit whoever left, as far as they may be asked.
        """
        asks = run.queue, run.gang_claim
        if run.priority <= self._no_victims.get(asks, -1) or len(self.blocked) > _MOST_BLOCKED:
            return None
        trial = self.tally.copy()
        for leaving in (*self._leaving(), *(victim for victim, _ in self.preempted.values())):
            trial.release(leaving)
        if self._fits_without(trial, run, ()):
            return []
        found = self._fewest_victims(trial, run, self._candidates(run))
        if found is None:
            self._no_victims[asks] = run.priority
        return found

    def _candidates(self, run: Run) -> list[Run]:
        """Those whose workers it may take, the lowest claim first: they started last."""
        if not self.policy.preemption:
            return []
        may = [
            each
            for each in self.active
            if not is_leaving(each)
            and each.id != run.id
            and each.id not in self.preempted
            and (each.priority < run.priority or self._is_idle(each))
        ]
        may.sort(key=lambda each: (each.started or each.created, each.id), reverse=True)
        return sorted(may, key=lambda each: (not self._is_idle(each), each.priority))

    def _is_idle(self, run: Run) -> bool:
        """It holds places that it can never use, as the nodes are."""
        return run.id in self.stranded and sentences.never_fits(run, self.view) is not None

    def _fewest_victims(self, trial: Tally, run: Run, candidates: list[Run]) -> list[Run] | None:
        if not candidates or not self._fits_without(trial, run, candidates):
            return None
        low, high = 1, len(candidates)
        while low < high:
            middle = (low + high) // 2
            if self._fits_without(trial, run, candidates[:middle]):
                high = middle
            else:
                low = middle + 1
        victims = candidates[:low]
        for spared in reversed(victims[:-1][-_MOST_SPARED:]):
            others = [each for each in victims if each is not spared]
            if self._fits_without(trial, run, others):
                victims = others
        return victims

    def _fits_without(self, tally: Tally, run: Run, gone: Sequence[Run]) -> bool:
        """Once those are gone, and those before it have got their places."""
        trial = tally.copy()
        for each in gone:
            trial.release(each)
        if run.id in self.stranded:
            trial.release(run)
        for first in self.blocked:
            if trial.take(first, first.workers_min) is not None:
                trial.reserve(first, first.workers_min)
        return trial.take(run, run.workers_min) is None
