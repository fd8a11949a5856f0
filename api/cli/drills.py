"""`tumbler chaos`: break something on purpose, and see it right itself."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeInt, PositiveFloat, PositiveInt

from api.cli.arguments import Folder, Output, Reference
from api.cli.drill_machine import kill_head_here, kill_service_here
from api.cli.drill_storm import Storm
from api.cli.drill_watch import DrillWatch, content_of, say
from api.cli.injections import inject
from api.cli.output import Format, put, tell
from api.cli.places import open_run
from cluster.faults import Killed, choose_member
from cluster.faults import hang_worker as hang
from cluster.faults import kill_worker as kill
from cluster.raylets import kill_node as kill_raylet
from orchestrator.domain.events import timestamp
from orchestrator.domain.run_directory import RunDirectory

chaos = App(name="chaos", help="Break something on purpose.")

Worker = Annotated[str | None, Parameter(help="Id of the worker, such as w2.")]
Rank = Annotated[NonNegativeInt | None, Parameter(help="Rank in the newest generation.")]
Check = Annotated[
    bool,
    Parameter(
        negative="", help="Wait for the end of the run, and check what must hold; 1 is the exit code if not."
    ),
]


@chaos.command
def kill_worker(
    run: Reference,
    /,
    *,
    worker: Worker = None,
    rank: Rank = None,
    check: Check = False,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> int:
    """SIGKILL one worker of a living run; any of them unless one is named."""
    found = open_run(run, storage)
    watch = DrillWatch(found)
    killed = kill(found, worker, rank)
    return _followed(found, watch, killed, check, output)


@chaos.command(name="hang-worker")
def hang_worker(
    run: Reference,
    /,
    *,
    worker: Worker = None,
    rank: Rank = None,
    check: Check = False,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> int:
    """SIGSTOP one worker: it lives and does nothing, until it is found and ended."""
    found = open_run(run, storage)
    watch = DrillWatch(found)
    return _followed(found, watch, hang(found, worker, rank), check, output)


@chaos.command(name="slow-worker")
def slow_worker(
    run: Reference,
    /,
    *,
    worker: Worker = None,
    rank: Rank = None,
    factor: Annotated[
        PositiveFloat, Parameter(help="How many times as long its part of a step takes.")
    ] = 3.0,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> None:
    """Make one worker compute slower from now on; a factor of 1 lets it be as fast as before."""
    from trainers.elastic.faults import Slow

    found = open_run(run, storage)
    _, victim = choose_member(found, worker, rank)
    slower_s = (factor - 1) * _shard_s(found)
    inject(found, victim.worker, Slow(max(0.0, slower_s)))
    done = {"worker": victim.worker, "pid": victim.pid, "rank": victim.rank, "shard_slower_s": slower_s}
    put(done, done, output)
    tell(f"a straggler is told of as an event: tumbler events {found.path} --kind straggler-found")


@chaos.command
def nan(
    run: Reference,
    /,
    *,
    worker: Worker = None,
    rank: Rank = None,
    check: Check = False,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> int:
    """Make the loss of one logical shard no number, once; what follows is for `retry.on_nan` to say."""
    from trainers.elastic.faults import NotANumber

    found = open_run(run, storage)
    _, victim = choose_member(found, worker, rank)
    on_nan = found.spec().retry.on_nan
    inject(found, victim.worker, NotANumber())
    done = {"worker": victim.worker, "pid": victim.pid, "rank": victim.rank, "on_nan": on_nan}
    put(done, done, output)
    if on_nan == "skip":
        tell("retry.on_nan is skip: one update is left out, so this run parts from an undisturbed one")
    return _checked(DrillWatch(found), output) if check else 0


@chaos.command(name="kill-node")
def kill_node(
    run: Reference,
    /,
    *,
    worker: Worker = None,
    check: Check = False,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> int:
    """SIGKILL the raylet of a node that has workers of a run, and so all that runs there; never the head."""
    found = open_run(run, storage)
    watch = DrillWatch(found)
    return _followed(found, watch, kill_raylet(found, worker), check, output)


@chaos.command(name="kill-service")
def kill_service(*, output: Output = Format.TABLE) -> None:
    """SIGKILL the service of this machine's home; training goes on."""
    done = kill_service_here()
    put(done, done, output)
    tell("training goes on; `tumbler up` starts the service again")


@chaos.command(name="kill-head")
def kill_head(*, output: Output = Format.TABLE) -> None:
    """SIGKILL every process of the head that `tumbler up` started, workers too."""
    done = kill_head_here()
    put(done, done, output)
    tell("`tumbler up` starts a new one, and each run that was active its next attempt")


@chaos.command
def storm(
    run: Reference,
    /,
    *,
    kills: NonNegativeInt = 5,
    resizes: NonNegativeInt = 3,
    seed: int = 1,
    most: Annotated[PositiveInt | None, Parameter(help="The largest number of workers.")] = None,
    storage: Folder = None,
    output: Output = Format.TABLE,
) -> int:
    """Kill and resize a run again and again at moments that a seed decides, then check what must hold."""
    found = open_run(run, storage)
    struck = Storm(found, run, storage, kills=kills, resizes=resizes, seed=seed, most=most).rage()
    checked = DrillWatch(found).ended()
    content = {"faults": struck, **content_of(checked)}
    shown = {**content, "faults": len(struck), "problems": "; ".join(checked.problems) or None}
    put(content, shown, output)
    return 0 if checked.ok else 1


def _followed(run: RunDirectory, watch: DrillWatch, struck: Any, check: bool, output: Format) -> int:
    """Tell what was done, then when the run stepped again."""
    what = f"worker {struck.worker}" if isinstance(struck, Killed) else f"the node of {struck.workers}"
    tell(f"struck {what} of generation {struck.generation}")
    done = {**asdict(struck), **watch.next_step(struck.time_s, struck.generation)}
    if check:
        checked = content_of(watch.ended())
        done["invariants"] = checked
    lines = {name: value for name, value in done.items() if name not in ("time_s", "invariants")}
    lines["time"] = timestamp(datetime.fromtimestamp(struck.time_s, UTC))
    put(done, {**lines, "invariants": _verdict(done)} if check else lines, output)
    say(run, done)
    return 0 if not check or done["invariants"]["ok"] else 1


def _checked(watch: DrillWatch, output: Format) -> int:
    content = content_of(watch.ended())
    put(content, content, output)
    return 0 if content["ok"] else 1


def _verdict(done: dict[str, Any]) -> str:
    found = done["invariants"]
    if not found["ok"]:
        return "; ".join(found["problems"])
    return (
        f"all hold: {found['steps']} steps, {found['rows_repeated']} rows repeated, "
        f"{found['rows_missed']} missed, one chain of {found['links']} links, no process left"
    )


def _shard_s(run: RunDirectory) -> float:
    """What a logical shard takes about, by the newest step."""
    from api.history import read_points

    newest = read_points(run)[-1]
    shards = run.spec().train.logical_shards
    return float(newest["step_s"]) * int(newest["workers"]) / shards
