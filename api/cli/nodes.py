"""`tumbler nodes`: the machines of the cluster, as the service sees them."""

from collections.abc import Mapping

from cyclopts import App

from api.cli.arguments import Output
from api.cli.output import Columns, Format, put, size, tell
from api.cli.places import need_service

nodes = App(name="nodes", help="The nodes of the cluster.")


@nodes.command
def ls(*, output: Output = Format.TABLE) -> None:
    """List the nodes of the cluster that the service trains on."""
    with need_service() as service:
        found = service.nodes()
    rows = [
        (
            node.hostname or node.address,
            node.address,
            "alive" if node.alive else "gone",
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


def resources_line(resources: Mapping[str, float]) -> str:
    """Such as `4 CPU, 1 GPU, 7.5 GiB`: what people ask for, of all that Ray knows of a node."""
    parts = [f"{resources[kind]:g} {kind}" for kind in ("CPU", "GPU") if resources.get(kind)]
    if resources.get("memory"):
        parts.append(size(resources["memory"]))
    return ", ".join(parts)
