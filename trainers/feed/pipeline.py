"""The blocks of a run's files through Ray Data: it reads and transforms, file by file and in order.

Only the order of the files and what is in them decides the blocks' content: each call of ours takes one file,
since the sizes of Ray Data's own blocks depend on the cluster.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.domain.errors import TumblerError
from trainers.feed.filling import Blocks
from trainers.feed.formats import file_blocks
from trainers.feed.scan import Scan

_STORE_BYTES: Final = 256 << 20
_BLOCK_BYTES: Final = 8 << 20
_TASK_BYTES: Final = 32 << 20
_HERE_BYTES: Final = 192 << 20
_HERE_BYTES_MADE: Final = 8 << 20
"""Where a transform or a trained tokenizer makes the rows, which may take its time."""
_NUMBER: Final = "number"


@dataclass(frozen=True)
class Claim:
    """What Ray Data may use of the cluster, and nothing beyond."""

    cpus: float = 1.0
    place: PlacementGroup | None = None
    """Its first bundle holds them; None where they are claimed of the cluster as they come."""
    object_store_bytes: int = _STORE_BYTES
    """How much of Ray's object store the blocks on their way may fill."""


def ray_blocks(scan: Scan, folder: Path, claim: Claim) -> Blocks:
    """The blocks of all files, made by Ray Data within `claim`; sets this process's DataContext.

    What is on its way is bounded by the claim's share of the object store; a reader that falls behind holds
    up the tasks. An error of ours in a task is raised as itself. Somebody waits for the rows of the first
    files, and Ray Data needs seconds before it gives any: they are read here while it starts.
    """

    def blocks(first: int) -> Iterator[pa.Table]:
        read = _FileReader(scan, folder)
        here = _read_here(scan, first)
        tasks = list(_tasks(scan, here.stop))
        with ThreadPoolExecutor(1, "ray-data-start") as starter:
            started = starter.submit(_started, read, tasks, claim) if tasks else None
            for number in here:
                yield from read.file(number)
            if started is None:
                return
            try:
                yield from started.result()
            except TumblerError:
                raise
            except Exception as error:  # Ray Data wraps what a task raised, more than once
                raise _ours(error) or error from None

    return blocks


def _started(read: "_FileReader", tasks: list[list[int]], claim: Claim) -> Iterator[pa.Table]:
    """The blocks of these files, the first of which is there."""
    blocks = iter(
        _dataset(read, tasks, claim).iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
    )
    return chain(list(islice(blocks, 1)), blocks)


def _dataset(read: "_FileReader", tasks: list[list[int]], claim: Claim) -> Any:
    # A second and a half, which nobody needs whose rows are there already.
    from ray.data import DataContext, ExecutionResources, from_blocks

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK_BYTES
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources(
        cpu=claim.cpus, object_store_memory=claim.object_store_bytes
    )
    where = {}
    if claim.place is not None:
        # For this operator alone: as the context's strategy it would also be Ray Data's whole budget, and
        # a placement group has no object store in it, so that nothing would ever start.
        where["scheduling_strategy"] = PlacementGroupSchedulingStrategy(claim.place, 0)
    files = [pa.table({_NUMBER: numbers}) for numbers in tasks]
    # Not from_arrow: that asks a task for the sizes, which no CPU may be left for.
    return from_blocks(files).map_batches(
        read,
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=min(1.0, claim.cpus),
        **where,
    )


class _FileReader:
    """What a task of Ray Data does with one file."""

    def __init__(self, scan: Scan, folder: Path) -> None:
        self._scan = scan
        self._folder = folder

    @property
    def __name__(self) -> str:
        """What Ray's dashboard calls it."""
        return "read_file"

    def __call__(self, files: pa.Table) -> Iterator[pa.Table]:
        for number in files[_NUMBER].to_pylist():
            yield from self.file(number)

    def file(self, number: int) -> Iterator[pa.Table]:
        for batch in file_blocks(self._scan, number, self._folder):
            yield pa.Table.from_batches([batch])


def _read_here(scan: Scan, first: int) -> range:
    """The files that are read while Ray Data starts: what one processor reads in a few seconds."""
    recipe = scan.recipe
    is_plain = not recipe.transform and (not recipe.is_packed or recipe.tokenizer == "bytes")
    left = _HERE_BYTES if is_plain and recipe.format != "images" else _HERE_BYTES_MADE
    for number in range(first, len(scan.files)):
        left -= scan.files[number].size
        if left < 0:
            return range(first, number)
    return range(first, len(scan.files))


def _tasks(scan: Scan, first: int) -> Iterator[list[int]]:
    """Which files one task after the other reads: small ones together."""
    held: list[int] = []
    size = 0
    for number in range(first, len(scan.files)):
        held.append(number)
        size += scan.files[number].size
        if size >= _TASK_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _ours(error: BaseException | None) -> TumblerError | None:
    """The error of ours that an error of Ray's is about."""
    while error is not None:
        if isinstance(error, TumblerError):
            return error
        cause = getattr(error, "cause", None) if isinstance(error, RayError) else None
        error = cause if isinstance(cause, BaseException) and cause is not error else error.__cause__
    return None
