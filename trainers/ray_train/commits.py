"""A checkpoint becomes one: when the parts of all members are in storage, the controller writes its manifest.

It alone commits, so that a worker that was left out, frozen or not heard of for a while can write what it
likes: without a manifest nobody finds it.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.manifest import Manifest, PartFile
from orchestrator.checkpoints.places import place_of
from orchestrator.checkpoints.retention import to_drop
from orchestrator.checkpoints.sharing import leave_mark
from orchestrator.domain.errors import CheckpointError, StorageError
from orchestrator.domain.events import timestamp
from trainers.elastic.job import WorkerJob
from trainers.elastic.messages import CheckpointFailed, PartsWritten, Report
from trainers.ray_train.checkpoint_wish import CheckpointWish
from trainers.ray_train.happenings import CheckpointCommitted, CommitFailed, GoOn, Happening, Verdict


class Tells(Protocol):
    """Whoever puts it on record."""

    def checkpoint(self, news: CheckpointCommitted | CommitFailed) -> None: ...


class CommitDesk:
    """Of one attempt. Storage is only touched on a thread; what became of a commit arrives as a happening."""

    def __init__(
        self, job: WorkerJob, desk: Tells, wish: CheckpointWish, tell: Callable[[Happening], None]
    ) -> None:
        self._job = job
        self._desk = desk
        self._wish = wish
        self._catalog = Catalog(place_of(job.checkpoints))
        self._tell = tell
        self._gathered: dict[tuple[int, int], dict[int, PartsWritten]] = {}
        self._begun: set[tuple[int, int]] = set()
        self._under_way = 0
        self._one_at_a_time = asyncio.Lock()
        leave_mark(self._catalog.place, job.attempt)
        self._committed = {found.step: found for found in self._catalog.committed()}
        self._metrics: dict[int, dict[str, float]] = {}

    @property
    def committed(self) -> list[Committed]:
        """Newest first."""
        return [self._committed[step] for step in sorted(self._committed, reverse=True)]

    @property
    def busy(self) -> bool:
        """A commit is under way, or its end was not heard of yet."""
        return self._under_way > 0

    def hear(self, report: Report) -> None:
        """Of members of any generation: they write on while the next one trains."""
        match report:
            case PartsWritten():
                self.take(report)
            case CheckpointFailed(step=step, reason=reason):
                wish = self._wish.answered(report.ask)
                if wish:
                    self._desk.checkpoint(CommitFailed(step, reason, wish))

    def lack_of(self, step: int) -> str:
        """What to say of a run that ends with this step and has no checkpoint of it; empty where it has."""
        if step in self._committed:
            return ""
        return (
            f"the last checkpoint, of step {step}, could not be committed: what the run has learnt since the "
            "one before is lost"
        )

    def take(self, parts: PartsWritten) -> None:
        """Parts of one member; the same ones may come twice."""
        key = parts.generation, parts.step
        if parts.attempt != self._job.attempt or key in self._begun:
            return
        gathered = self._gathered.setdefault(key, {})
        gathered[parts.first] = parts
        if not _whole(gathered, self._job.spec.train.logical_shards):
            return
        self._begun.add(key)
        # What came before it and is still not whole will never be.
        self._gathered = {other: found for other, found in self._gathered.items() if other > key}
        self._under_way += 1
        wish = self._wish.answered(parts.ask)
        asyncio.get_running_loop().create_task(self._commit(self._manifest(list(gathered.values())), wish))

    def handle(self, news: CheckpointCommitted | CommitFailed) -> Verdict:
        self._under_way -= 1
        self._desk.checkpoint(news)
        return GoOn()

    def _manifest(self, parts: list[PartsWritten]) -> Manifest:
        files = [file for member in sorted(parts, key=lambda member: member.first) for file in member.files]
        one = parts[0]
        return Manifest(
            step=one.step,
            attempt=one.attempt,
            generation=one.generation,
            fingerprint=self._job.spec.result_fingerprint(),
            spec=self._job.spec.result_content(),
            committed=timestamp(),
            metrics=dict(one.metrics),
            parts=tuple(PartFile(name=name, size=size, xxh3=xxh3) for name, size, xxh3 in files),
            parameters_sha256=one.parameters_sha256,
            optimizer_sha256=one.optimizer_sha256,
        )

    async def _commit(self, manifest: Manifest, wish: int) -> None:
        async with self._one_at_a_time:
            try:
                self._tell(await self._committing(manifest, wish))
            except Exception as error:  # whatever it is, the end of the run must not wait for it for ever
                self._tell(CommitFailed(manifest.step, str(error), wish))

    async def _committing(self, manifest: Manifest, wish: int) -> CheckpointCommitted:
        found = await asyncio.to_thread(self._catalog.commit, manifest)
        self._committed[found.step] = found
        self._metrics[found.step] = manifest.metrics
        return CheckpointCommitted(
            step=found.step,
            path=self._catalog.place.describe(found.name),
            parameters_sha256=manifest.parameters_sha256,
            metrics=manifest.metrics,
            trouble=await asyncio.to_thread(self._drop, found),
            wish=wish,
            remark=self._remark(manifest.metrics),
        )

    def _remark(self, metrics: Mapping[str, float]) -> str:
        best = self._job.spec.checkpoint.keep_best
        if best is None or not metrics or best.metric in metrics:
            return ""
        return f"keep_best finds no {best.metric} among its metrics, which are {', '.join(sorted(metrics))}"

    def _drop(self, newest: Committed) -> str:
        """Those that nobody wants to keep; what went wrong, or nothing.

        Later ones than the newest were damaged or undone, or training would have gone on from them. They
        count for nothing, and are left until training is past them.
        """
        wish = self._job.spec.checkpoint
        try:
            past = [found for found in self.committed if found.step <= newest.step]
            known = [(found.step, self._metrics_of(found)) for found in past]
            steps = to_drop(
                known, keep_last=wish.keep_last, keep_every=wish.keep_every, keep_best=wish.keep_best
            )
            for step in steps:
                self._catalog.remove(step)
                del self._committed[step]
            self._catalog.sweep(newest.attempt, newest.generation, newest.step)
        except StorageError as error:
            return f"older checkpoints could not be dropped: {error}"
        return ""

    def _metrics_of(self, found: Committed) -> dict[str, float]:
        if found.step not in self._metrics:
            try:
                self._metrics[found.step] = self._catalog.read(found).metrics
            except CheckpointError:
                self._metrics[found.step] = {}
        return self._metrics[found.step]


def _whole(gathered: dict[int, PartsWritten], num_shards: int) -> bool:
    end = 0
    for first in sorted(gathered):
        if first != end:
            return False
        end = gathered[first].last
    return end == num_shards
