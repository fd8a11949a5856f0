"""The way of an attempt as stages: what all members of the group did between two moments, in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.domain.goodput_history import Attempt, Bucket, Farewell, Work, WorkerLife

Spent = dict[Bucket, float]
"""Worker-seconds by bucket."""


@dataclass(frozen=True)
class Stage:
    """Seconds since 1970; what a member spent in it is spread evenly."""

    begin: float
    end: float
    members: tuple[str, ...]
    spent: Mapping[Bucket, float]
    """Seconds of one member; they add up to the length."""
    forming: bool = False
    """There was no group before: it begins when all members have a place."""


@dataclass
class Group:
    """All stages of an attempt in order, and what the last generation left open."""

    stages: list[Stage] = field(default_factory=list)
    members: tuple[str, ...] = ()
    """Of the newest generation that formed."""


def group_of(attempt: Attempt) -> Group:
    group = Group()
    pause: Bucket | None = None
    for number, members in attempt.generations.items():
        cause = _cause(attempt, group.members, members)
        pause = Bucket.RECOVERY if Bucket.RECOVERY in (pause, cause) else cause
        group.members = members
        work = attempt.works.get(number)
        if work is None:
            continue  # it was over before its first step: the pause goes on
        group.stages += _pause(attempt, group, work, pause)
        group.stages.append(Stage(work.begin, work.end, members, work.spent))
        pause = None
    return group


def _cause(attempt: Attempt, before: tuple[str, ...], members: tuple[str, ...]) -> Bucket:
    """Which bucket the pause before a generation belongs to."""
    if not before:
        return Bucket.START
    left = [attempt.workers[name] for name in before if name not in members and name in attempt.workers]
    formed_anew = set(before) >= set(members) and not left
    lost = any(worker.farewell is Farewell.LOST for worker in left)
    return Bucket.RECOVERY if lost or formed_anew else Bucket.RESIZE


def _pause(attempt: Attempt, group: Group, work: Work, cause: Bucket) -> Iterator[Stage]:
    """What the members did before the first step of their generation, places that they waited for apart."""
    members = group.members
    placed = max((attempt.workers[name].placed for name in members if name in attempt.workers), default=0.0)
    placed = min(placed, work.begin)
    stages = group.stages
    survivors = bool(stages) and not set(stages[-1].members).isdisjoint(members)
    if not survivors:
        since = max(placed, stages[-1].end if stages else 0.0)
        yield _stage(since, work.begin, members, cause, forming=True)
        return
    since = stages[-1].end
    if cause is Bucket.RECOVERY and placed > since:
        yield _stage(since, placed, members, Bucket.IDLE)
        since = placed
    yield _stage(since, work.begin, members, cause)


def _stage(
    begin: float, end: float, members: tuple[str, ...], bucket: Bucket, *, forming: bool = False
) -> Stage:
    return Stage(begin, end, members, {bucket: end - begin}, forming=forming)


def spent_by(attempt: Attempt, group: Group, name: str, *, living: bool, minimum: int) -> Spent:
    """All worker-seconds of one worker; they add up to the time it had its place."""
    worker = attempt.workers[name]
    spent: Spent = dict.fromkeys(Bucket, 0.0)
    stop = left_at(attempt, worker)
    done = stop if worker.warm is None else min(max(worker.warm, worker.placed), stop)
    spent[Bucket.START] += done - worker.placed
    for stage in group.stages:
        if name not in stage.members:
            continue
        begin, end = min(max(stage.begin, done), stop), min(stage.end, stop)
        spent[Bucket.IDLE if stage.forming else Bucket.START] += begin - done
        if end > begin:
            share = (end - begin) / (stage.end - stage.begin)
            for bucket, seconds in stage.spent.items():
                spent[bucket] += seconds * share
        done = max(begin, end)
    _spend_rest(spent, attempt, group, name, done, stop, living=living, minimum=minimum)
    return spent


def left_at(attempt: Attempt, worker: WorkerLife) -> float:
    return max(worker.placed, attempt.end if worker.gone is None else worker.gone)


def _spend_rest(
    spent: Spent,
    attempt: Attempt,
    group: Group,
    name: str,
    done: float,
    stop: float,
    *,
    living: bool,
    minimum: int,
) -> None:
    """What came after the last step that a worker took part in, from `done` to `stop`."""
    worker = attempt.workers[name]
    ended_well = attempt.over and not _somebody_lost(attempt, group)
    if worker.farewell is None and ended_well and name in group.members:
        evaluated = min(max(done, attempt.evaluated), stop)
        spent[Bucket.PRODUCTIVE] += evaluated - done
        spent[Bucket.CHECKPOINT] += stop - evaluated
    else:
        bucket = _open_bucket(attempt, group, name, living=living, minimum=minimum)
        spent[bucket] += stop - done


def _open_bucket(attempt: Attempt, group: Group, name: str, *, living: bool, minimum: int) -> Bucket:
    farewell = attempt.workers[name].farewell
    if not any(name in members for members in attempt.generations.values()):
        return Bucket.IDLE
    if farewell is not None:
        return Bucket.RECOVERY if farewell is Farewell.LOST else Bucket.RESIZE
    if _somebody_lost(attempt, group):
        return Bucket.IDLE if _waits_for_places(attempt, group, minimum) else Bucket.RECOVERY
    if not group.stages:
        return Bucket.START
    # A step in flight, or where the attempt broke off: lost with it.
    return Bucket.PRODUCTIVE if living else Bucket.RECOVERY


def _somebody_lost(attempt: Attempt, group: Group) -> bool:
    """A member of the newest generation is lost, and there was no next one."""
    known = [attempt.workers[name] for name in group.members if name in attempt.workers]
    return any(worker.farewell is Farewell.LOST for worker in known)


def _waits_for_places(attempt: Attempt, group: Group, minimum: int) -> bool:
    present = {name for name, worker in attempt.workers.items() if worker.gone is None}
    return len(present & set(group.members)) < minimum and present <= set(group.members)
