"""Places for workers: bundles of placement groups that belong to one run.

The gang, the workers without which nobody trains, has one placement group: Ray grants it whole or not at all,
so two runs cannot each hold half of what both need. Every worker beyond has its own. A slot outlives its
worker: a replacement goes into the place that the lost one had, and if that node is gone Ray moves the
bundle.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.domain.ray_names import slot_prefix
from trainers.elastic.job import WorkerJob
from trainers.ray_train.internals import WorkerGroupContext


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
    ):
        """`gang` places come together, when the first is taken."""
        self._prefix = prefix
        self._resources = dict(resources)
        self._strategy = strategy
        self._labels = dict(labels or {})
        self._groups: list[PlacementGroup] = []
        self._num_requested = 0
        self._free: list[Slot] = []
        self._feed: PlacementGroup | None = None
        self._gang = gang

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
        slot = self._free.pop(0) if self._free else Slot(self._request(1), 0, gang=False)
        try:
            await slot.group.ready()
        except BaseException:
            self.give_back(slot)
            raise
        return slot

    def give_back(self, slot: Slot) -> None:
        """The worker is gone, the place stays reserved for the next."""
        if slot.group in self._groups:
            self._free.append(slot)
            self._free.sort(key=lambda free: not free.gang)

    def release_unused(self) -> None:
        """Return free places beyond the gang to the cluster."""
        for slot in [slot for slot in self._free if not slot.gang]:
            self._free.remove(slot)
            self._groups.remove(slot.group)
            remove_placement_group(slot.group)

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
        labels = self._labels if labels is None else labels
        group = placement_group(
            bundles=[dict(resources or self._resources)] * size,
            strategy=self._strategy,
            name=f"{self._prefix}{self._num_requested}",  # Ray refuses one that another group has
            bundle_label_selector=[dict(labels)] * size if labels else None,
        )
        self._num_requested += 1
        self._groups.append(group)
        return group


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
