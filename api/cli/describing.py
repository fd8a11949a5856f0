"""`tumbler describe` and `workers`: everything about one run, and what to do next."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from api.cli.arguments import Folder, Output, Reference
from api.cli.errors import Usage
from api.cli.output import Columns, Format, put, put_table
from api.cli.places import need_service, service_for, storage_or_default
from api.cli.runs import content_of
from api.cli.runs import describe as lines_of
from api.cli.served_records import flat
from api.cli.served_runs import lines_about, next_commands
from api.cli.verbs import Served
from api.client import Client
from api.client_types import RunInfo
from orchestrator.domain.events import EventKind
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.status import RunStatus

_EVENTS = _GENERATIONS = 10
_WORKER_COLUMNS = ("worker", "attempt", "state", "pid", "node_id", "since")
_VERBS = {"drain": "replaced", "kill": "killed"}


def describe(run: Reference, /, *, storage: Folder = None, output: Output = Format.TABLE) -> None:
    """Show everything about one run: where it stands, why it waits, what happened, and what to do next."""
    service = service_for(run, storage)
    if service is None:
        found = RunDirectory.open(run, storage_or_default(storage))
        lines, content = _from_directory(found)
    else:
        with service:
            lines, content = _from_service(service, service.run(run))
    if output is not Format.TABLE:
        put(content, {}, output)
        return
    put_table(lines)
    _section("attempts", ("attempt", "started", "ended", "reason", "steps", "message"), _attempts(content))
    _section(
        "generations",
        ("generation", "attempt", "formed", "step", "workers", "repeated"),
        _generations(content),
    )
    events = [(event["time"], event["kind"], event["message"]) for event in content["events"]]
    _section("last events", ("time", "kind", "message"), events)
    print("\nnext")
    for command in content["next"]:
        print(f"  {command}")


def workers(
    run: Served,
    verb: Annotated[Literal["drain", "kill"] | None, Parameter(name="VERB")] = None,
    worker: Annotated[str | None, Parameter(name="WORKER")] = None,
    /,
    *,
    output: Output = Format.TABLE,
) -> None:
    """List the workers of a run, or let one of them go: `workers RUN drain w2`.

    Parameters
    ----------
    verb
        `drain`: it leaves when its replacement is there, and no step is repeated. `kill`: its process is
        killed, as a drill.
    worker
        Which one, such as w2.
    """
    if (verb is None) != (worker is None):
        raise Usage("expected RUN alone, or RUN drain WORKER, or RUN kill WORKER")
    with need_service() as service:
        if verb is not None and worker is not None:
            said = service.drain_worker(run, worker) if verb == "drain" else service.kill_worker(run, worker)
            if output is Format.TABLE:
                print(f"worker {worker} of {said.name} is to be {_VERBS[verb]}", flush=True)
            else:
                put(said.content(), lines_about(said), output)
            return
        found = service.workers(run)
    rows = [[one.get(name) for name in _WORKER_COLUMNS] for one in found]
    names = [name.replace("_", " ") for name in _WORKER_COLUMNS]
    put(found, Columns(names, rows, empty="the run has had no worker yet"), output)


def why_it_waits(run: RunInfo) -> str | None:
    """A sentence for people; None for a run that waits for nothing."""
    match run.status:
        case RunStatus.QUEUED | RunStatus.STARTING:
            why = run.wait.why if run.wait else None
            soon = (
                "its workers are starting"
                if run.status == RunStatus.STARTING
                else "it starts within a second"
            )
            return why or "; ".join(filter(None, (soon, _others_first(run))))
        case RunStatus.PAUSED:
            return "a user paused it; it goes on when it is resumed"
        case RunStatus.RUNNING if run.workers.now < run.workers.target:
            return f"{run.workers.now} of {run.workers.target} workers train, the others are starting"
        case RunStatus.RUNNING if run.wait:
            return run.wait.why
    return None


def _from_service(service: Client, run: RunInfo) -> tuple[dict[str, object], dict[str, Any]]:
    waits = why_it_waits(run)
    lines = lines_about(run)
    lines.pop("waits for", None)
    if waits:
        asked = "why not more workers?" if run.status == RunStatus.RUNNING else "why does it wait?"
        lines = {**_first(lines, "status"), asked: waits, **lines}
    events = [flat(event) for event in service.events(run.id)]
    content = {
        **run.content(),
        "waits": waits,
        "attempts": [one.content() for one in service.attempts(run.id)],
        "generations": [one.content() for one in service.generations(run.id)],
        "events": events[-_EVENTS:],
        "next": next_commands(run),
    }
    return lines, content


def _others_first(run: RunInfo) -> str | None:
    ahead = (run.wait.position or 1) - 1 if run.wait else 0
    return f"{ahead} other run{'s go' if ahead > 1 else ' goes'} first" if ahead else None


def _from_directory(run: RunDirectory) -> tuple[dict[str, object], dict[str, Any]]:
    state = run.read_status()
    events = list(read_journal(run.outbox, "events"))
    words = ("audit", "metrics", "checkpoint ls") if state.status.terminal else ("watch", "metrics")
    content = {
        **content_of(run, state),
        "attempts": [],
        "generations": [_formed(event) for event in events if event["kind"] == EventKind.GENERATION_STARTED],
        "events": events[-_EVENTS:],
        "next": [f"tumbler {word} {run.path}" for word in words],
    }
    return lines_of(run, state), content


def _formed(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": event["generation"],
        "attempt": event.get("attempt", 1),
        "formed": event["time"],
        **{name: event.get(name) for name in ("step", "workers", "steps_repeated", "form_s")},
    }


def _attempts(content: Mapping[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            one["number"],
            one.get("started"),
            one.get("ended"),
            one.get("reason"),
            f"{one.get('first_step', 0)} to {one['last_step']}" if one.get("ended") else "",
            one.get("message"),
        )
        for one in content["attempts"]
    ]


def _generations(content: Mapping[str, Any]) -> list[tuple[object, ...]]:
    return [
        (
            one["number"],
            one.get("attempt"),
            one.get("formed"),
            one.get("step"),
            ", ".join(one.get("workers") or ()),
            one.get("steps_repeated"),
        )
        for one in content["generations"][-_GENERATIONS:]
    ]


def _section(title: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    found = list(rows)
    if found:
        print(f"\n{title}")
        put_table(Columns(names, found))


def _first(lines: Mapping[str, object], last: str) -> dict[str, object]:
    """The lines up to one of them."""
    kept: dict[str, object] = {}
    for name, value in lines.items():
        kept[name] = value
        if name == last:
            break
    return kept
