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
        self, prefix: str, resources: Mapping[str, float], strategy: str, labels: Mapping[str, str] | None
    ):
        self._prefix = prefix
        self._resources = dict(resources)
        self._strategy = strategy
        self._labels = dict(labels or {})
        self._groups: list[PlacementGroup] = []
        self._free: list[Slot] = []

    def add_gang(self, size: int) -> None:
        group = self._request(size)
        self._free += [Slot(group, bundle, gang=True) for bundle in range(size)]

    def reserve_feed(self, cpus: float) -> None:
        """Claim the data feed's share before any worker does; it is never given to one."""
        self._request(1, {"CPU": cpus})

    async def take(self) -> Slot:
        """A slot, as soon as the cluster has granted it; cancelling gives it back."""
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
        while self._groups:
            remove_placement_group(self._groups.pop())

    def _request(self, size: int, resources: Mapping[str, float] | None = None) -> PlacementGroup:
        group = placement_group(
            bundles=[dict(resources or self._resources)] * size,
            strategy=self._strategy,
            name=f"{self._prefix}{len(self._groups)}",
            bundle_label_selector=[self._labels] * size if self._labels and not resources else None,
        )
        self._groups.append(group)
        return group
