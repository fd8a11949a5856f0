"""What people are told: why a run waits, or has fewer workers than it could use, and what changes that."""

from collections.abc import Iterable, Sequence
from itertools import islice

from orchestrator.domain.queues import Queue
from orchestrator.domain.runs import Run
from orchestrator.ports.cluster import ClusterView
from orchestrator.scheduling.room import ROUNDING, Need, Room, amount, need_of, totals
from orchestrator.scheduling.speed import End
from orchestrator.scheduling.tally import Tally

_NAMED = 3
"""How many holders a sentence names."""
_FORESEEN = 20
"""So many ends are looked ahead."""
_MINUTE_S, _HOUR_S = 60.0, 3600.0


def behind(ahead: int, queue: str) -> str:
    if ahead == 1:
        return f"1 run of queue {queue} goes before it"
    return f"{ahead} runs of queue {queue} go before it"


def never_fits(run: Run, view: ClusterView) -> str | None:
    """None where it fits these nodes while they are empty, or others may come."""
    if view.autoscaled or not any(node.alive for node in view.nodes):
        return None
    need = need_of(run)
    if _fits_empty(run, Room.of(view)):
        return None
    closed = [node.hostname for node in view.nodes if node.alive and not node.open]
    if closed and _fits_empty(run, Room.of(view, closed_too=True)):
        takes = "takes" if len(closed) == 1 else "take"
        return f"needs {need.describe(run.workers_min)}; {', '.join(closed)} {takes} no new workers now"
    empty = Room.of(view, closed_too=True)
    num_nodes = len(empty.places)
    nodes = "1 node" if num_nodes == 1 else f"{num_nodes} nodes"
    kind = _scarce(need, run.workers_min, empty)
    has = f"the cluster has {amount(kind, empty.free(kind))} on {nodes}"
    if num_nodes > 1:
        has += f", at most {amount(kind, empty.most(kind))} on one"
    return f"can never fit: needs {need.describe(run.workers_min)}; {has}"


def never_within(need: Need, workers: int, queue: Queue) -> str | None:
    """None where the queue may hold so many workers while it is empty."""
    for kind, most in queue.quota.items():
        asked = need.of(kind, workers)
        if asked > most + ROUNDING:
            return (
                f"its smallest group needs {amount(kind, asked)} and queue {queue.name} may hold "
                f"{amount(kind, most)} in all"
            )
    return None


def does_not_fit(
    run: Run, active: Sequence[Run], ends: Sequence[End], tally: Tally, view: ClusterView
) -> str:
    need, room = need_of(run), tally.room
    needs = f"needs {need.describe(run.workers_min)}"
    if not room.places:
        return f"{needs}; no node of the cluster is alive"
    kind = _scarce(need, run.workers_min, room)
    unit = amount(kind, totals(view.nodes, kind))
    free = f"{_bare(kind, room.free(kind))} of {unit} {'is' if kind == 'memory' else 'are'} free"
    if len(room.places) > 1 and not _lacks(need, run.workers_min, room, kind):
        free += f", at most {_bare(kind, room.most(kind))} on one node"
    return f"{needs}; {free}" + _holders(active, tally, kind) + _starts_when(run, ends, tally)


def at_quota(run: Run, ends: Sequence[End], tally: Tally) -> str:
    need, used = need_of(run), tally.used.get(run.queue, {})
    for kind, most in tally.quota(run.queue).items():
        asked = need.of(kind, run.workers_min)
        held = used.get(kind, 0.0)
        if held + asked > most + ROUNDING:
            own = [end for end in ends if end.run.queue == run.queue]
            return (
                f"queue {run.queue} is at its quota: it holds {_bare(kind, held)} of {amount(kind, most)}"
                f" and this one needs {_bare(kind, asked)}" + _starts_when(run, own, tally)
            )
    raise AssertionError(f"run {run.id} is within the quota of its queue")


def kept_for(first: Run) -> str:
    return f"the places that are free are kept for {first.name}, which goes before it"


def makes_room(run: Run, leaving: Sequence[Run]) -> str:
    names = ", ".join(each.name for each in leaving[:_NAMED])
    more = f" and {len(leaving) - _NAMED} more" if len(leaving) > _NAMED else ""
    verb = "leaves its workers" if len(leaving) == 1 else "leave their workers"
    return f"starts in a moment: {names}{more} {verb} first"


def preempted(run: Run, winner: Run) -> str:
    return (
        f"{winner.name} needs its {_workers(run.target)} and has priority {winner.priority}, this run "
        f"{run.priority}; it goes on where it is as soon as there is room again"
    )


def stranded(run: Run, view: ClusterView, *, leaving: bool) -> str:
    needs = f"needs {need_of(run).describe(run.workers_min)}"
    if leaving:
        return f"{needs} and lost some of them; others make room for it"
    if (never := never_fits(run, view)) is not None:
        return f"it lost workers and waits for a node: {never}"
    return f"{needs} and lost some of them; there is no room for others now"


def why_no_more(queue: str, need: Need, tally: Tally) -> tuple[str, bool]:
    """Why no run of the queue gets one worker more; and whether that is due to its own queue."""
    if not tally.headroom(queue, need):
        return f"queue {queue} is at its quota", True
    if tally.room.has_place(need):
        return "more follow within seconds", False
    kind = next((kind for kind in need.worker if tally.room.most(kind) < need.worker[kind]), None)
    if kind is None:
        return "no node that it may use has room for another one", False
    total = amount(kind, tally.totals.get(kind, 0.0))
    return f"the cluster's {total} {'is' if kind == 'memory' else 'are'} in use", False


def less_than_most(run: Run, workers: int, why: str, ends: Iterable[End]) -> str:
    """Of a run that trains, or is about to; `ends` are those of runs whose places it could get."""
    end = next((end for end in ends if end.run.id != run.id), None)
    then = "" if end is None else f"; gets more when {end.run.name} ends, {soon(end.in_s)}"
    return f"{workers} of {run.workers_max} workers: {why}{then}"


def soon(seconds: float) -> str:
    """Such as `about 40 s`, `about 4 min` or `about 3 h`."""
    if seconds < 1.5 * _MINUTE_S:
        return f"about {seconds:.0f} s"
    if seconds < 1.5 * _HOUR_S:
        return f"about {seconds / _MINUTE_S:.0f} min"
    return f"about {seconds / _HOUR_S:.0f} h"


def _starts_when(run: Run, ends: Iterable[End], tally: Tally) -> str:
    """The first end of another run by which it fits, where it can be told."""
    trial = tally.copy()
    for end in islice(ends, _FORESEEN):
        trial.release(end.run)
        if trial.take(run, run.workers_min) is None:
            return f"; starts when {end.run.name} ends, {soon(end.in_s)}"
    return ""


def _fits_empty(run: Run, empty: Room) -> bool:
    return empty.take_gang(run.id, need_of(run), run.workers_min)


def _holders(active: Sequence[Run], tally: Tally, kind: str) -> str:
    held = [(run.name, need_of(run).of(kind, tally.workers.get(run.id, 0))) for run in active]
    held = sorted([(name, much) for name, much in held if much > 0], key=lambda each: (-each[1], each[0]))
    named = "".join(f", {name} holds {_bare(kind, much)}" for name, much in held[:_NAMED])
    rest = held[_NAMED:]
    if not rest:
        return named
    return named + f" and {len(rest)} more hold {_bare(kind, sum(much for _, much in rest))}"


def _scarce(need: Need, workers: int, room: Room) -> str:
    """The resource to name: the first that there is too little of, else the first that is asked for."""
    for kind in need.worker:
        if _lacks(need, workers, room, kind):
            return kind
    return next(iter(need.worker))


def _lacks(need: Need, workers: int, room: Room, kind: str) -> bool:
    return room.free(kind) + ROUNDING < need.of(kind, workers)


def _bare(kind: str, much: float) -> str:
    """The number alone where the unit was said already; bytes always carry theirs."""
    return amount(kind, much).removesuffix(" of memory") if kind == "memory" else f"{much:g}"


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
