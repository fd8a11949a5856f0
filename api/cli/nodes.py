"""`tumbler nodes`: the machines of the cluster, and whether new workers may go there."""

from collections.abc import Mapping
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.types import NonNegativeFloat

from api.cli.arguments import Output
from api.cli.output import Columns, Format, put, size, tell
from api.cli.places import need_service
from api.client_types import NodeInfo

nodes = App(name="nodes", help="The nodes of the cluster, and whether new workers may go there.")
OneNode = Annotated[
    str, Parameter(name="NODE", help="Id of a node or the beginning of one, its host name or its address.")
]


@nodes.command
def ls(*, output: Output = Format.TABLE) -> None:
    """List the nodes of the cluster that the service trains on."""
    with need_service() as service:
        found = service.nodes()
    rows = [
        (
            node.hostname or node.address,
            node.address,
            state_of(node),
            "head" if node.head else "worker",
            resources_line(node.resources),
            node.id[:12],
        )
        for node in found.nodes
    ]
    names = ("node", "address", "state", "kind", "has", "id")
    put(found.content(), Columns(names, rows, empty="the cluster has no node"), output)
    if found.trouble:
        tell(found.trouble)


@nodes.command
def cordon(node: OneNode, /, *, output: Output = Format.TABLE) -> None:
    """Start no new worker on a node; those that are there stay."""
    with need_service() as service:
        found = service.cordon(node)
    _put(found, output)


@nodes.command
def uncordon(node: OneNode, /, *, output: Output = Format.TABLE) -> None:
    """Let workers start on a node again."""
    with need_service() as service:
        found = service.uncordon(node)
    _put(found, output)


@nodes.command
def drain(
    node: OneNode,
    /,
    *,
    deadline_s: NonNegativeFloat | None = None,
    reason: str = "",
    output: Output = Format.TABLE,
) -> None:
    """Move all workers off a node, replacements first; no step is repeated.

    Parameters
    ----------
    deadline_s
        Seconds until the node is gone. Where no replacement comes in time, its workers leave all the same;
        where too few would be left, the run saves a checkpoint and waits for room.
    reason
        For those who look at Ray.
    """
    with need_service() as service:
        found = service.drain(node, deadline_s=deadline_s, reason=reason)
    _put(found, output)


def state_of(node: NodeInfo) -> str:
    if not node.alive:
        return "gone"
    said = [word for word, holds in (("draining", node.draining), ("cordoned", node.cordoned)) if holds]
    return ", ".join(said) or "alive"


def resources_line(resources: Mapping[str, float]) -> str:
    """Such as `4 CPU, 1 GPU, 7.5 GiB`: what people ask for, of all that Ray knows of a node."""
    parts = [f"{resources[kind]:g} {kind}" for kind in ("CPU", "GPU") if resources.get(kind)]
    if resources.get("memory"):
        parts.append(size(resources["memory"]))
    return ", ".join(parts)


def _put(node: NodeInfo, output: Format) -> None:
    if output is Format.TABLE:
        print(f"node {node.hostname or node.address} ({node.id[:12]}) is {state_of(node)}", flush=True)
    else:
        put(node.content(), Columns(("node", "state"), [(node.id, state_of(node))], empty=""), output)
