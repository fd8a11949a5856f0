"""How the control loop looks at the world: at the cluster in the background, at run directories each round.

What it remembers of a run between rounds is here too. All of that may be forgotten: after a restart it is
learnt anew.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from orchestrator.controllers.decisions import Sight
from orchestrator.domain.errors import ClusterUnavailable
from orchestrator.domain.node_marks import NodeMark
from orchestrator.domain.runs import Run, submission_id
from orchestrator.ports.cluster import Cluster, ClusterView, DriverStatus
from orchestrator.ports.run_files import News, RunFiles

_LOOK_EVERY_S: Final = 1.0
_LOOK_AT_LEAST_EVERY_S: Final = 4.0
_LOOKING_SHARE: Final = 0.02
"""Of the time: a look takes longer on a busy machine, and makes it busier."""
_log = structlog.get_logger()


class ClusterWatch:
    """The newest answer of the cluster. It is asked by a task of its own, so that slow HTTP delays nobody."""

    def __init__(self, cluster: Cluster, monotonic: Callable[[], float]) -> None:
        self._cluster = cluster
        self._monotonic = monotonic
        self._answer: ClusterView | None = None
        self.trouble: str | None = "Ray was not asked yet"
        self.drivers: Mapping[str, DriverStatus] = {}
        self.begun = 0
        """How many looks were begun."""
        self.answered = 0
        """Which of them was the newest that the cluster answered."""
        self.marks: Mapping[str, NodeMark] = {}
        """What somebody said of nodes, from the record."""
        self._task: asyncio.Task[None] | None = None
        self._due = float("-inf")

    @property
    def view(self) -> ClusterView | None:
        """As the newest answer gave it, with the marks of nodes; kept while the cluster is away."""
        return None if self._answer is None else self._answer.marked(self.marks)

    @property
    def there(self) -> bool:
        return self.trouble is None

    def look_if_due(self) -> None:
        """Begin a look, unless one is under way or the last was a moment ago."""
        if self._task is not None and not self._task.done():
            return
        if self._monotonic() >= self._due:
            self._task = asyncio.create_task(self._look())

    async def look(self) -> None:
        """Look now, and wait for the answer."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        await asyncio.shield(self._task)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def lost(self, error: ClusterUnavailable) -> None:
        """It did not answer somebody else."""
        self.trouble = error.message

    async def _look(self) -> None:
        self.begun += 1
        number, begun = self.begun, self._monotonic()
        try:
            # The nodes before the drivers: whoever sees a driver may rely on its node being seen.
            view = await asyncio.to_thread(self._cluster.view)
            drivers = await asyncio.to_thread(self._cluster.drivers)
        except ClusterUnavailable as error:
            self.trouble = error.message
        except Exception as error:
            self.trouble = f"the cluster cannot be read: {error}"
            _log.exception("the cluster cannot be read")
        else:
            self._answer, self.drivers, self.answered, self.trouble = view, drivers, number, None
        finally:
            took_s = self._monotonic() - begun
            self._due = begun + min(_LOOK_AT_LEAST_EVERY_S, max(_LOOK_EVERY_S, took_s / _LOOKING_SHARE))


@dataclass
class Memory:
    """What is remembered of an active run from round to round."""

    driver: tuple[int, int] = (0, 0)
    """Attempt and driver that the next ones are about."""
    launched_at_look: int | None = None
    """How many looks were begun when it was launched; None while this process has not done so."""
    refused: str | None = None
    """Why it cannot be launched at all."""
    mark: tuple[int, int, int] | None = None
    """How far the run was when that driver was first seen; a later value is progress."""
    idle_before: int = 0
    """Drivers in a row before it that ended without progress."""
    ordered: tuple[object, ...] | None = None
    """The orders written last."""
    told_at: float = float("-inf")
    """When progress was written to the record last."""
    beaten_at: float = float("-inf")
    stopped_at: float = float("-inf")
    """When its driver was stopped by force last."""
    trouble: str | None = None
    """Why its storage cannot be read or written, while that is so."""
    trouble_since: float = 0.0


@dataclass
class Memories:
    """By run id, of active runs only."""

    of_runs: dict[str, Memory] = field(default_factory=dict)

    def of(self, run: Run) -> Memory:
        """Knows the newest driver of the run, and whether the one before it was idle."""
        memory = self.of_runs.setdefault(run.id, Memory())
        newest = (run.attempt, run.driver)
        if memory.driver != newest:
            same_attempt = memory.driver[0] == run.attempt
            memory.idle_before = idle_drivers(memory, run) if same_attempt else 0
            memory.driver, memory.launched_at_look, memory.mark = newest, None, None
            memory.refused, memory.stopped_at = None, float("-inf")
        if memory.mark is None:
            memory.mark = _mark(run)
        return memory

    def keep_only(self, run_ids: set[str]) -> None:
        self.of_runs = {run_id: memory for run_id, memory in self.of_runs.items() if run_id in run_ids}


def idle_drivers(memory: Memory, run: Run) -> int:
    """In a row, counting the one at hand as if it were over."""
    return memory.idle_before + 1 if memory.mark == _mark(run) else 0


def _mark(run: Run) -> tuple[int, int, int]:
    return run.attempt, run.progress.generation, run.progress.step


async def news_of(files: RunFiles, run: Run) -> News | Exception:
    """What its run directory tells, or why it cannot be read: the trouble of one run is not that of all."""
    try:
        return await asyncio.to_thread(files.news, run)
    except Exception as error:
        return error


def sight_of(run: Run, news: News, watch: ClusterWatch, memory: Memory) -> Sight:
    # An answer that began before the launch cannot know of it.
    looked = watch.there and watch.answered > (memory.launched_at_look or 0)
    return Sight(
        run,
        news,
        driver=watch.drivers.get(submission_id(run, run.driver)),
        looked=looked,
        idle_drivers=idle_drivers(memory, run),
        refused=memory.refused,
    )
