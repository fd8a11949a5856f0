"""Who starts, who grows, and why the others wait: one pure decision over the whole queue.

The order is strict: by priority, then by age. A run that does not fit now keeps those behind it in its queue
waiting, so that small ones do not starve it; one that can never fit on the nodes that are there does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.domain.runs import Run
from orchestrator.domain.status import RunStatus
from orchestrator.ports.cluster import ClusterView
from orchestrator.scheduling.room import Need, Room, amount, need_of, totals

_NAMED = 3
"""How many holders a sentence names."""


@dataclass(frozen=True)
class Plan:
    grants: Mapping[str, int] = field(default_factory=dict)
    """Run id -> with how many workers it starts."""
    targets: Mapping[str, int] = field(default_factory=dict)
    """Run id -> how many workers a living run is granted from now on: more than before."""
    waits: Mapping[str, str] = field(default_factory=dict)
    """Run id -> one sentence on why it does not start."""
    hopeless: Mapping[str, str] = field(default_factory=dict)
    """Gang claim that these nodes can never hold -> that sentence."""


def admit(queued: Sequence[Run], active: Sequence[Run], view: ClusterView) -> Plan:
    """`queued` are those that may start now (no back-off), the greatest claim first, as the record lists
    them."""
    room = Room.of(view)
    for run in sorted(active, key=lambda run: run.created):
        room.hold(need_of(run), run.target)
    grants: dict[str, int] = {}
    waits: dict[str, str] = {}
    ahead: dict[str, int] = {}
    never: dict[str, str | None] = {}
    for run in queued:
        claim = run.gang_claim
        if claim not in never:
            never[claim] = _never_fits(run, view)
        if (hopeless := never[claim]) is not None:
            waits[run.id] = hopeless
        elif ahead.get(run.queue):
            waits[run.id] = _behind(ahead[run.queue])
            ahead[run.queue] += 1
        elif room.take_gang(need_of(run), run.workers_min):
            grants[run.id] = run.workers_min
        else:
            waits[run.id] = _does_not_fit(run, active, room, view)
            ahead[run.queue] = 1
    new = [run for run in queued if run.id in grants]
    growing = new if ahead else [*new, *(run for run in active if _may_grow(run))]
    targets: dict[str, int] = {}
    for run in sorted(growing, key=lambda run: (-run.priority, run.created, run.id)):
        held = grants.get(run.id, run.target)
        more = room.take_more(need_of(run), run.workers_max - held)
        if more:
            (grants if run.id in grants else targets)[run.id] = held + more
    return Plan(grants, targets, waits, {claim: said for claim, said in never.items() if said is not None})


def _may_grow(run: Run) -> bool:
    living = run.status in (RunStatus.STARTING, RunStatus.RUNNING) and run.stop is None
    return living and run.target < run.workers_max


def _never_fits(run: Run, view: ClusterView) -> str | None:
    if view.autoscaled or not any(node.alive for node in view.nodes):
        return None
    empty = Room.of(view)
    need = need_of(run)
    if empty.take_gang(need, run.workers_min):
        return None
    empty = Room.of(view)
    num_nodes = len(empty.places)
    nodes = "1 node" if num_nodes == 1 else f"{num_nodes} nodes"
    kind = _scarce(need, run.workers_min, empty)
    has = f"the cluster has {amount(kind, empty.free(kind))} on {nodes}"
    if num_nodes > 1:
        has += f", at most {amount(kind, empty.most(kind))} on one"
    return f"can never fit: needs {need.describe(run.workers_min)}; {has}"


def _does_not_fit(run: Run, active: Sequence[Run], room: Room, view: ClusterView) -> str:
    need = need_of(run)
    needs = f"needs {need.describe(run.workers_min)}"
    if not room.places:
        return f"{needs}; no node of the cluster is alive"
    kind = _scarce(need, run.workers_min, room)
    unit = amount(kind, totals(view.nodes, kind))
    free = f"{_bare(kind, room.free(kind))} of {unit} {'is' if kind == 'memory' else 'are'} free"
    if len(room.places) > 1 and not _lacks(need, run.workers_min, room, kind):
        free += f", at most {_bare(kind, room.most(kind))} on one node"
    return f"{needs}; {free}" + _holders(active, kind)


def _holders(active: Sequence[Run], kind: str) -> str:
    held = [(run.name, _held(run, kind)) for run in active]
    held = sorted([(name, much) for name, much in held if much > 0], key=lambda each: (-each[1], each[0]))
    named = "".join(f", {name} holds {_bare(kind, much)}" for name, much in held[:_NAMED])
    rest = held[_NAMED:]
    if not rest:
        return named
    return named + f" and {len(rest)} more hold {_bare(kind, sum(much for _, much in rest))}"


def _held(run: Run, kind: str) -> float:
    need = need_of(run)
    return run.target * need.worker.get(kind, 0.0) + need.feed.get(kind, 0.0)


def _scarce(need: Need, workers: int, room: Room) -> str:
    """The resource to name: the first that there is too little of, else the first that is asked for."""
    for kind in need.worker:
        if _lacks(need, workers, room, kind):
            return kind
    return next(iter(need.worker))


def _lacks(need: Need, workers: int, room: Room, kind: str) -> bool:
    return room.free(kind) + 1e-6 < need.worker[kind] * workers + need.feed.get(kind, 0.0)


def _bare(kind: str, much: float) -> str:
    """The number alone where the unit was said already; bytes always carry theirs."""
    return amount(kind, much).removesuffix(" of memory") if kind == "memory" else f"{much:g}"


def _behind(ahead: int) -> str:
    if ahead == 1:
        return "1 run with higher or equal priority is ahead of it"
    return f"{ahead} runs with higher or equal priority are ahead of it"
