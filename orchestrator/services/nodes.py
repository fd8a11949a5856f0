"""What a user may ask of the nodes of the cluster: cordon, uncordon, drain. Said twice, a verb changes
nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from orchestrator.domain.errors import ClusterUnavailable, NodeNotFound, WrongStatus
from orchestrator.domain.events import timestamp, utc_now
from orchestrator.domain.node_marks import NodeMark
from orchestrator.ports.cluster import Cluster, ClusterView, Node
from orchestrator.ports.record import Record

_MOST_NAMED: Final = 10


class NodeService:
    """A `reference` is a node's id or a unique prefix of it, its host name or its address; NodeNotFound where
    it is none of a living node. All methods raise ClusterUnavailable while Ray is away, and StorageError."""

    def __init__(
        self,
        record: Record,
        cluster: Cluster,
        wake: Callable[[], None],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`wake` is called when something changed."""
        self._record = record
        self._cluster = cluster
        self._wake = wake
        self._clock = clock

    async def view(self) -> ClusterView:
        """As Ray tells it now, with the marks."""
        view = await asyncio.to_thread(self._cluster.view)
        return view.marked(await self._record.node_marks())

    async def cordon(self, reference: str) -> Node:
        """No new worker starts there; those that are there stay. The head may be cordoned, and all nodes may
        be: then runs wait."""
        node = _the_node(await self.view(), reference)
        if not node.cordoned:
            await self._put(replace(await self._mark(node), cordoned=True))
        return replace(node, cordoned=True)

    async def uncordon(self, reference: str) -> Node:
        """Takes back a cordon, and a drain too where Ray was not told of it. Raises WrongStatus."""
        node = _the_node(await self.view(), reference)
        mark = await self._mark(node)
        if node.draining and (mark.told_ray or not mark.draining):
            raise WrongStatus(
                f"node {_name(node)} drains, and Ray takes that back for no node",
                hint="start Ray on it anew; it comes back as another node",
            )
        if node.cordoned or node.draining:
            await self._record.drop_node_mark(node.id)
            self._wake()
        return replace(node, cordoned=False, draining=False)

    async def drain(self, reference: str, *, deadline_s: float | None = None, reason: str = "") -> Node:
        """All workers move away within `deadline_s` seconds. Of two deadlines the earlier one counts. Raises
        WrongStatus for the head."""
        node = _the_node(await self.view(), reference)
        if node.head:
            raise WrongStatus(
                f"node {_name(node)} is the head, where all controllers live, and cannot be drained",
                hint="cordon it to keep new workers away; `tumbler down` stops it",
            )
        mark = await self._mark(node)
        until = None if deadline_s is None else timestamp(self._clock() + timedelta(seconds=deadline_s))
        if mark.draining and (until is None or (mark.drain_until is not None and mark.drain_until <= until)):
            return node
        told = mark.told_ray or await self._tell_ray(node, deadline_s, reason)
        await self._put(replace(mark, draining=True, drain_until=until, reason=reason, told_ray=told))
        return replace(node, draining=True)

    async def _tell_ray(self, node: Node, deadline_s: float | None, reason: str) -> bool:
        """Our own runs leave all the same where Ray cannot be told."""
        try:
            return await asyncio.to_thread(self._cluster.drain, node.id, deadline_s, reason)
        except ClusterUnavailable:
            return False

    async def _mark(self, node: Node) -> NodeMark:
        return (await self._record.node_marks()).get(node.id, NodeMark(node.id))

    async def _put(self, mark: NodeMark) -> None:
        await self._record.put_node_mark(mark)
        self._wake()


def _the_node(view: ClusterView, reference: str) -> Node:
    living = [node for node in view.nodes if node.alive]
    found = [node for node in living if reference in (node.id, node.hostname, node.address)]
    found = found or [node for node in living if reference and node.id.startswith(reference)]
    if len(found) == 1:
        return found[0]
    named = ", ".join(_name(node) for node in (found or living)[:_MOST_NAMED])
    if found:
        raise NodeNotFound(f"'{reference}' may be any of {len(found)} nodes: {named}")
    raise NodeNotFound(
        f"the cluster has no living node '{reference}'" + (f", it has {named}" if named else "")
    )


def _name(node: Node) -> str:
    return f"{node.id[:12]} ({node.hostname})"
