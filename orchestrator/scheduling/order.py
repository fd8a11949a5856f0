"""In which order runs get the fewest workers that they need."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from orchestrator.domain.lifecycle_attempts import seconds_since
from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus
from orchestrator.scheduling.policy import Policy
from orchestrator.scheduling.speed import resizes


def merit(run: Run, policy: Policy, now: datetime) -> int:
    """Its priority, and one point more for each while it has waited.

    There is no end to that, so that everybody is first some day. Who may take workers from whom is decided by
    the priority alone.
    """
    if policy.ageing_s <= 0:
        return run.priority
    waited_s = seconds_since(run.waits_since or run.queued, now)
    return run.priority + max(0, int(waited_s / policy.ageing_s))


InLine = Mapping[str, Sequence[tuple[int, str, str, Run]]]
"""Queue -> its runs in order, each behind what it is ordered by."""


def in_line(queued: Sequence[Run], policy: Policy, now: datetime) -> InLine:
    found: dict[str, list[tuple[int, str, str, Run]]] = defaultdict(list)
    for run in queued:
        found[run.queue].append((-merit(run, policy, now), run.queued, run.id, run))
    return {queue: sorted(runs, key=lambda each: each[:3]) for queue, runs in found.items()}


class Line:
    """Those who wait. Of equal merit it is the turn of the queue that holds the least for its weight."""

    def __init__(self, waiting: InLine, share: Callable[[str], float]) -> None:
        self._waiting = waiting
        self._share = share
        self._place = dict.fromkeys(waiting, 0)
        """Queue -> how many of its runs had their turn."""

    def __iter__(self) -> Iterator[Run]:
        """The share of a queue counts as it is when the turn comes to it."""
        heads = [self._head(queue) for queue in self._waiting]
        heapq.heapify(heads)
        while heads:
            queue = heads[0][-1]
            self._place[queue] += 1
            yield self._waiting[queue][self._place[queue] - 1][-1]
            if self._place[queue] < len(self._waiting[queue]):
                heapq.heapreplace(heads, self._head(queue))
            else:
                heapq.heappop(heads)

    def rest(self, queue: str) -> list[Run]:
        """All of a queue whose turn did not come yet; it will not come any more."""
        left = [each[-1] for each in self._waiting[queue][self._place[queue] :]]
        self._place[queue] = len(self._waiting[queue])
        return left

    def _head(self, queue: str) -> tuple[int, float, str, str, str]:
        points, queued, run_id, _ = self._waiting[queue][self._place[queue]]
        return points, self._share(queue), queued, run_id, queue


def is_leaving(run: Run) -> bool:
    """Its places will be free soon."""
    return run.stop is not None or run.status not in (RunStatus.STARTING, RunStatus.RUNNING)


def is_fixed(run: Run) -> bool:
    """Its number of workers is not for the scheduler to change."""
    return is_leaving(run) or not resizes(run)


def fewest(run: Run) -> int:
    """How many workers a living run keeps whoever else comes, as long as it is not preempted."""
    return run.target if is_fixed(run) else min(run.target, run.workers_min)


def holds(run: Run, alive: frozenset[str]) -> int:
    """How many workers it has at least. Who leaves gets no new ones for those that went with a node."""
    if is_leaving(run) and run.progress.seats:
        return min(run.target, sum(node in alive for node in run.progress.seats.values()))
    return fewest(run)


def is_harmed(run: Run, alive: frozenset[str]) -> bool:
    """It trained, and some of the workers that it cannot do without are gone."""
    seats = run.progress.seats.values()
    lacks = sum(node in alive for node in seats) < fewest(run)
    return run.status is RunStatus.RUNNING and bool(seats) and lacks


def standing(active: Sequence[Run], alive: frozenset[str]) -> list[Run]:
    """Living runs, the better claim first. Of equal priority, who lost a node stands behind who did not."""
    return sorted(
        active,
        key=lambda run: (
            not is_leaving(run),
            -run.priority,
            is_harmed(run, alive),
            run.started or run.created,
            run.id,
        ),
    )
