"""Who has how many workers from now on, and why nobody has more: one pure decision over all runs.

It is made from scratch in each round. First everybody gets the fewest workers it needs, by priority and age
(`minima`); then what is left is given to those to whom it is worth most (`surplus`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Run
from orchestrator.domain.status import EndReason
from orchestrator.ports.cluster import ClusterView
from orchestrator.scheduling import sentences
from orchestrator.scheduling.minima import Minima
from orchestrator.scheduling.order import InLine, fewest, in_line, is_fixed, is_leaving
from orchestrator.scheduling.policy import DEFAULT_POLICY, Policy
from orchestrator.scheduling.room import need_of
from orchestrator.scheduling.speed import End, ends_of, resizes
from orchestrator.scheduling.surplus import Handout
from orchestrator.scheduling.tally import Tally

_NO_QUEUES: Mapping[str, Queue] = {}


@dataclass(frozen=True)
class Plan:
    grants: Mapping[str, int] = field(default_factory=dict)
    """Run id -> with how many workers it starts."""
    targets: Mapping[str, int] = field(default_factory=dict)
    """Run id -> how many workers a living run is granted from now on: more than before, or fewer."""
    preemptions: Mapping[str, str] = field(default_factory=dict)
    """Run id -> for whom it has to leave all its workers, in a sentence."""
    waits: Mapping[str, str] = field(default_factory=dict)
    """Run id -> one sentence on why it does not start."""
    shares: Mapping[str, str] = field(default_factory=dict)
    """Run id -> one sentence on why a run that trains has fewer workers than it could use."""
    hopeless: Mapping[str, str] = field(default_factory=dict)
    """Gang claim that these nodes can never hold -> that sentence."""


def plan(
    queued: Sequence[Run],
    active: Sequence[Run],
    view: ClusterView,
    now: datetime,
    *,
    queues: Mapping[str, Queue] = _NO_QUEUES,
    policy: Policy = DEFAULT_POLICY,
    unsettled: frozenset[str] = frozenset(),
) -> Plan:
    """`queued` are QUEUED, those in a back-off too; `active` hold workers, or may. `unsettled` are the ids of
    living runs whose target changed less than `policy.settle_s` ago.

    The sum of all targets fits the nodes: a run that leaves counts until it has left.
    """
    waiting = in_line(queued, policy, now)
    minima = _minima(waiting, active, view, now, queues, policy)
    if not minima.preempted:
        return _whole(minima, {}, unsettled)
    # Who is to leave still has all its workers: what is decided about the others must reckon with that.
    leaving = {run.id: sentences.preempted(run, winner) for run, winner in minima.preempted.values()}
    asked = [run.with_(stop=EndReason.PREEMPTED) if run.id in leaving else run for run in active]
    again = _minima(waiting, asked, view, now, queues, replace(policy, preemption=False))
    return _whole(again, leaving, unsettled)


def _minima(
    waiting: InLine,
    active: Sequence[Run],
    view: ClusterView,
    now: datetime,
    queues: Mapping[str, Queue],
    policy: Policy,
) -> Minima:
    ends = ends_of([run for run in active if not is_leaving(run)])
    minima = Minima(view, policy, now, active, ends, Tally.of(view, queues), Tally.of(view, queues))
    minima.settle(waiting)
    return minima


def _whole(minima: Minima, preemptions: Mapping[str, str], unsettled: frozenset[str]) -> Plan:
    lent = minima.tally.copy()
    for run in minima.soon:
        if lent.take(run, run.workers_min) is not None:
            lent.reserve(run, run.workers_min)
    growing = [run for run in minima.active if not is_fixed(run) and run.id not in minima.shares]
    starting = [run for run in minima.grants.values() if resizes(run) or not minima.blocked]
    workers = {run.id: fewest(run) for run in growing}
    workers |= {run_id: run.workers_min for run_id, run in (minima.raised | minima.grants).items()}
    before = {run.id: run.target for run in growing}
    Handout(lent, minima.policy, workers, before, unsettled).give([*growing, *starting])
    targets = {run.id: workers[run.id] for run in growing if workers[run.id] != run.target}
    targets |= {run.id: fewest(run) for run in minima.stranded.values() if fewest(run) != run.target}
    return Plan(
        grants={run_id: workers[run_id] for run_id in minima.grants},
        targets=targets,
        preemptions=preemptions,
        waits=minima.waits | _turns(minima),
        shares={**_shares(minima, workers, lent), **minima.shares},
        hopeless=minima.hopeless,
    )


def _turns(minima: Minima) -> dict[str, str]:
    """Of those who are behind the first of their queue."""
    return {
        run.id: sentences.behind(ahead, queue)
        for queue, runs in minima.behind.items()
        for ahead, run in enumerate(runs, start=1)
    }


def _shares(minima: Minima, workers: Mapping[str, int], lent: Tally) -> dict[str, str]:
    """Of those who have less than their most."""
    ends_of_queue: dict[str, list[End]] = defaultdict(list)
    for end in minima.ends:
        ends_of_queue[end.run.queue].append(end)
    reasons: dict[tuple[str, str], tuple[str, bool]] = {}
    said = {}
    for run in (*minima.active, *minima.grants.values()):
        if run.id not in workers or workers[run.id] >= run.workers_max or run.id in minima.shares:
            continue
        asks = run.queue, run.claim
        if asks not in reasons:
            reasons[asks] = sentences.why_no_more(run.queue, need_of(run), lent)
        why, own = reasons[asks]
        ends = ends_of_queue[run.queue] if own else minima.ends
        said[run.id] = sentences.less_than_most(run, workers[run.id], why, ends)
    return said
