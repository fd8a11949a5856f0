"""`tumbler top`: the cluster and its runs, live."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from cyclopts import Parameter
from cyclopts.types import PositiveFloat
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from api.cli.arguments import Output
from api.cli.nodes import resources_line, state_of
from api.cli.output import Format, duration, number, put
from api.cli.places import need_service
from api.cli.progress import Pace
from api.cli.queues import amounts
from api.cli.served_runs import age, progress_of, workers_of
from api.client import Client
from api.client_types import NodeInfo, RunInfo
from orchestrator.domain.errors import ClusterUnavailable, ServiceUnreachable
from orchestrator.domain.runs import ACTIVE
from orchestrator.domain.status import RunStatus

_MOST_RUNS: Final = 500
_MOST_WAITING: Final = 20
_WIDEST: Final = 24
_SAMPLE_S: Final = 1.0
_AWAY_S: Final = 120.0
_RUN_COLUMNS: Final = ("run", "status", "queue", "step", "step/s", "loss", "workers", "eta", "age", "why")
_NODE_COLUMNS: Final = ("node", "state", "has", "workers", "runs")
_QUEUE_COLUMNS: Final = ("queue", "active", "waiting", "holds", "quota")


@dataclass(frozen=True)
class Look:
    """The cluster at one moment."""

    nodes: Sequence[NodeInfo]
    queues: Sequence[Mapping[str, Any]]
    runs: Sequence[RunInfo]
    """Those that hold workers, then some of those that wait."""
    seats: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Node id -> names of the runs of the workers there, one for each."""
    trouble: str = ""


class Paces:
    """How fast each run goes, by what was seen of it."""

    def __init__(self) -> None:
        self._of: dict[str, Pace] = {}

    def saw(self, look: Look, now_s: float) -> None:
        runs = {run.id: run for run in look.runs if run.status == RunStatus.RUNNING}
        self._of = {run_id: self._of.get(run_id, Pace()) for run_id in runs}
        for run_id, run in runs.items():
            self._of[run_id].saw(now_s, run.step)

    def steps_per_s(self, run: RunInfo) -> float | None:
        pace = self._of.get(run.id)
        return pace.steps_per_s if pace is not None else None

    def left_s(self, run: RunInfo) -> float | None:
        """Until it has done all its steps; None where nobody knows."""
        pace = self.steps_per_s(run)
        return (run.total_steps - run.step) / pace if pace and run.total_steps else None


def top(
    *,
    once: Annotated[bool, Parameter(negative="")] = False,
    every: PositiveFloat = 1.0,
    output: Output = Format.TABLE,
) -> None:
    """Show nodes, queues and runs live: step/s, loss, workers and how long each will take. Ctrl-C ends it.

    Parameters
    ----------
    once
        Look for a second, print and end; so it does where stdout is no terminal, and for json and yaml.
    every
        Seconds between two looks.
    """
    with need_service() as service:
        if once or output is not Format.TABLE or not sys.stdout.isatty():
            _once(service, output)
        else:
            _live(service, every)


def look_at(service: Client) -> Look:
    """Raises ServiceUnreachable. Of a cluster that is away there are no nodes."""
    active = list(service.runs(status=sorted(ACTIVE), limit=_MOST_RUNS))
    waiting = list(service.runs(status=RunStatus.QUEUED, sort="created", limit=_MOST_WAITING))
    seats: dict[str, list[str]] = {}
    for run in active:
        for worker in service.workers(run.id) if run.workers.now else ():
            if worker["attempt"] == run.attempt and worker["state"] in ("training", "warm", "starting"):
                seats.setdefault(str(worker["node_id"]), []).append(run.name)
    try:
        nodes = service.nodes()
    except ClusterUnavailable as error:
        return Look((), service.queues(), [*active, *waiting], seats, error.message)
    return Look(nodes.nodes, service.queues(), [*active, *waiting], seats, nodes.trouble or "")


def content_of(look: Look, paces: Paces) -> dict[str, Any]:
    """For programs."""
    return {
        "nodes": [{**node.content(), "runs": list(look.seats.get(node.id, ()))} for node in look.nodes],
        "queues": [dict(queue) for queue in look.queues],
        "runs": [
            {**run.content(), "steps_per_s": paces.steps_per_s(run), "eta_s": paces.left_s(run)}
            for run in look.runs
        ],
        "trouble": look.trouble or None,
    }


def picture(look: Look, paces: Paces) -> Group:
    """Three tables, one below the other."""
    parts: list[RenderableType] = [
        _table(_NODE_COLUMNS, [_node_row(node, look) for node in look.nodes]),
        Text(""),
        _table(_QUEUE_COLUMNS, [_queue_row(queue) for queue in look.queues]),
        Text(""),
        _table(_RUN_COLUMNS, [_run_row(run, paces) for run in look.runs]),
    ]
    if look.trouble:
        parts.insert(0, Text(look.trouble, style="yellow"))
    if not look.runs:
        parts.append(Text("no run trains or waits; start one with `tumbler submit -f run.yaml`", style="dim"))
    return Group(*parts)


def _once(service: Client, output: Format) -> None:
    paces, look = Paces(), look_at(service)
    paces.saw(look, service.monotonic())
    if look.runs:
        service.sleep(_SAMPLE_S)
        look = look_at(service)
        paces.saw(look, service.monotonic())
    if output is not Format.TABLE:
        put(content_of(look, paces), {}, output)
        return
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    with console.capture() as capture:
        console.print(picture(look, paces))
    print("\n".join(line.rstrip() for line in capture.get().splitlines()), flush=True)


def _live(service: Client, every_s: float) -> None:
    paces, look, heard_s = Paces(), look_at(service), time.monotonic()
    with Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
        while True:
            paces.saw(look, time.monotonic())
            live.update(picture(look, paces), refresh=True)
            time.sleep(every_s)
            try:
                look, heard_s = look_at(service), time.monotonic()
            except ServiceUnreachable as error:
                if time.monotonic() - heard_s > _AWAY_S:
                    raise
                away = f"the service does not answer, trying again; training is not affected ({error})"
                look = Look(look.nodes, look.queues, look.runs, look.seats, away)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, name in enumerate(columns):
        widest = max(len(name), *(len(str(row[index] or "")) for row in rows)) if rows else len(name)
        # The last column, which may hold a sentence, takes what the others leave.
        least = min(widest, _WIDEST) if index < len(columns) - 1 else None
        table.add_column(name.upper(), overflow="ellipsis", no_wrap=True, min_width=least)
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    return table


def _node_row(node: NodeInfo, look: Look) -> tuple[object, ...]:
    here = look.seats.get(node.id, ())
    names = ", ".join(f"{name} {here.count(name)}" for name in dict.fromkeys(here))
    kind = f"{node.hostname or node.address}{' (head)' if node.head else ''}"
    return kind, state_of(node), resources_line(node.resources), len(here), names


def _queue_row(queue: Mapping[str, Any]) -> tuple[object, ...]:
    return queue["name"], queue["running"], queue["waiting"], amounts(queue["held"]), amounts(queue["quota"])


def _run_row(run: RunInfo, paces: Paces) -> tuple[object, ...]:
    pace, left_s = paces.steps_per_s(run), paces.left_s(run)
    return (
        run.name,
        run.status + (f", {run.phase}" if run.phase else ""),
        run.queue,
        progress_of(run),
        f"{pace:.3g}" if pace is not None else None,
        number(run.metrics.get("loss")),
        workers_of(run),
        duration(left_s) if left_s is not None else None,
        age(run.started or run.created),
        run.wait.why if run.wait else None,
    )
