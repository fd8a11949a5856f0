"""Places for workers: bundles of placement groups that belong to one run.

The gang, the workers without which nobody trains, has one placement group: Ray grants it whole or not at all,
so two runs cannot each hold half of what both need. Every worker beyond has its own. A slot outlives its
worker: a replacement goes into the place that the lost one had. Where its node is gone, a new place is asked
for elsewhere at once; a bundle of the gang is moved by Ray. A place on a closed node is not given out again.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.domain.ray_names import slot_prefix
from trainers.elastic.job import WorkerJob
from trainers.ray_train.internals import NODE_ID_LABEL, WorkerGroupContext
from trainers.ray_train.node_probe import node_answers

_SILENT_FOR_S: Final = 60.0
"""By then the GCS knows whether such a node is dead."""


@dataclass(frozen=True)
class Slot:
    group: PlacementGroup
    bundle: int
    gang: bool

    @property
    def scheduling_strategy(self) -> PlacementGroupSchedulingStrategy:
        return PlacementGroupSchedulingStrategy(
            placement_group=self.group, placement_group_bundle_index=self.bundle
        )


class SlotPool:
    """All placement groups of one run; their names start with `prefix`, by which a sweep finds them."""

    def __init__(
        self,
        prefix: str,
        resources: Mapping[str, float],
        strategy: str,
        labels: Mapping[str, str] | None,
        *,
        gang: int,
        node_answers: Callable[[str], Awaitable[bool]] = node_answers,
    ):
        """`gang` places come together, when the first is taken."""
        self._node_answers = node_answers
        self._prefix = prefix
        self._resources = dict(resources)
        self._strategy = strategy
        self._labels = dict(labels or {})
        self._groups: list[PlacementGroup] = []
        self._free: list[Slot] = []
        self._nodes: dict[Slot, str] = {}
        """Where each free slot lies, as far as a worker found out."""
        self._closed: frozenset[str] = frozenset()
        self._silent: dict[str, float] = {}
        """Nodes that did not answer, and when."""
        self._num_requested = 0
        self._feed: PlacementGroup | None = None
        self._gang = gang

    def close_nodes(self, node_ids: frozenset[str]) -> bool:
        """Give out no place on these nodes, and ask for none there; False where nothing changes.

        A run that names its node itself goes there all the same.
        """
        if node_ids == self._closed or NODE_ID_LABEL in self._labels:
            return False
        self._closed = node_ids
        for slot in [slot for slot in self._free if not slot.gang and self._nodes.get(slot) in node_ids]:
            self._remove(slot)
        return True

    def is_closed(self, node_id: str) -> bool:
        return node_id in self._closed

    async def take_feed(self, cpus: float, labels: Mapping[str, str]) -> PlacementGroup:
        """The data feed's share, as soon as the cluster has granted it; it is never given to a worker."""
        self._feed = self._request(1, {"CPU": cpus}, labels)
        await self._feed.ready()
        return self._feed

    def release_feed(self) -> None:
        """Return the feed's share to the cluster."""
        if self._feed is not None:
            self._groups.remove(self._feed)
            remove_placement_group(self._feed)
            self._feed = None

    async def take(self) -> Slot:
        """A slot, as soon as the cluster has granted it; cancelling gives it back."""
        if self._gang:
            size, self._gang = self._gang, 0
            group = self._request(size)
            self._free += [Slot(group, bundle, gang=True) for bundle in range(size)]
        slot = await self._free_slot() or Slot(self._request(1), 0, gang=False)
        try:
            await slot.group.ready()
        except BaseException:
            self._withdraw(slot)
            raise
        return slot

    def give_back(self, slot: Slot, node_id: str = "") -> None:
        """The worker is gone, the place stays reserved for the next, unless its node takes nobody."""
        if slot.group not in self._groups:
            return
        self._free.append(slot)
        self._free.sort(key=lambda free: not free.gang)
        if node_id:
            self._nodes[slot] = node_id
        if node_id in self._closed and not slot.gang:
            self._remove(slot)

    async def _free_slot(self) -> Slot | None:
        while open_ones := [slot for slot in self._free if self._nodes.get(slot) not in self._closed]:
            slot = open_ones[0]
            self._free.remove(slot)
            node_id = self._nodes.pop(slot, "")
            try:
                if slot.gang or not node_id or await self._node_answers(node_id):
                    return slot
            except BaseException:
                self.give_back(slot, node_id)
                raise
            self._silent[node_id] = time.monotonic()
            self._give_up(slot)
        return None

    def _withdraw(self, slot: Slot) -> None:
        """Nobody waits for it any more; the next one may be asked for on other nodes."""
        self.give_back(slot)
        if slot in self._free and not slot.gang:
            self._remove(slot)

    def _remove(self, slot: Slot) -> None:
        """A free slot that is alone in its group."""
        self._free.remove(slot)
        self._nodes.pop(slot, None)
        self._give_up(slot)

    def _give_up(self, slot: Slot) -> None:
        if slot.group in self._groups:
            self._groups.remove(slot.group)
            remove_placement_group(slot.group)

    def release_unused(self) -> None:
        """Return free places beyond the gang to the cluster."""
        for slot in [slot for slot in self._free if not slot.gang]:
            self._remove(slot)

    def close(self) -> None:
        self._free.clear()
        self._feed = None
        while self._groups:
            remove_placement_group(self._groups.pop())

    def _request(
        self,
        size: int,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> PlacementGroup:
        labels = self._worker_labels() if labels is None else labels
        group = placement_group(
            bundles=[dict(resources or self._resources)] * size,
            strategy=self._strategy,
            name=f"{self._prefix}{self._num_requested}",  # Ray refuses one that another group has
            bundle_label_selector=[dict(labels)] * size if labels else None,
        )
        self._num_requested += 1
        self._groups.append(group)
        return group

    def _worker_labels(self) -> dict[str, str]:
        now = time.monotonic()
        silent = {node_id for node_id, since in self._silent.items() if now - since < _SILENT_FOR_S}
        avoided = sorted(self._closed | silent)
        if not avoided or NODE_ID_LABEL in self._labels:
            return self._labels
        return {**self._labels, NODE_ID_LABEL: f"!in({','.join(avoided)})"}


def slot_pool(job: WorkerJob, group: WorkerGroupContext) -> SlotPool:
    """The places of a run; nothing is asked for yet."""
    return SlotPool(
        slot_prefix(job.spec.name),
        group.resources_per_worker,
        group.placement_strategy,
        job.spec.resources.labels,
        # A service grants the gang, and single places can be given back.
        gang=0 if job.detached else job.spec.workers.min,
    )
