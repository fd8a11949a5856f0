"""What is done between two steps: evaluate, save a checkpoint, and end well.

All members reach the same step boundary in the same generation, so each of these is decided by the step
alone. A duty that is cut short by a loss is done again by the next generation, which starts at the same
boundary.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from orchestrator.domain.shards import maximal_nodes, middle, owned_shards
from orchestrator.domain.vigil import Phase
from trainers.checkpoints.copying import Origin, wards_of
from trainers.checkpoints.pace import SnapshotPace
from trainers.checkpoints.saver import Saver
from trainers.elastic.group import ElasticGroup
from trainers.elastic.messages import Evaluated, Finished, PartsWritten, Report
from trainers.elastic.precision import Precision, forward_in
from trainers.elastic.progress import Progress
from trainers.elastic.reduction import tree_sum
from trainers.elastic.state import TrainState
from trainers.elastic.step import seed_everything, to_device
from trainers.task import Rows, ShardLoss, Task


@dataclass(frozen=True)
class Cadence:
    """When duties are due, in steps."""

    checkpoint_every: int
    evaluate_every: int | None
    evaluate_rows: int
    """Rows of the validation data that one evaluation looks at, from the first on."""
    rows_at_once: int
    """Rows in one forward pass of an evaluation; fixed by the spec, so that no bit depends on the world
    size."""


class Duties:
    def __init__(
        self,
        task: Task[Any],
        state: TrainState,
        validation: Rows | None,
        cadence: Cadence,
        *,
        saver: Saver,
        pace: SnapshotPace,
        attempt: int,
        num_shards: int,
        worker_id: str,
        device: torch.device,
        report: Callable[[Report], None],
        precision: Precision = "fp32",
        progress: Progress | None = None,
    ):
        self._task = task
        self._state = state
        self._validation = validation
        self._cadence = cadence
        self._saver = saver
        self._pace = pace
        self._snapshot_due = False
        self._wards: tuple[int, ...] = ()
        self._attempt = attempt
        self._num_shards = num_shards
        self._worker_id = worker_id
        self._device = device
        self._report = report
        self._precision = precision
        self._progress = progress or Progress()
        self._formed_step = -1
        self._committed: frozenset[int] = frozenset()
        self.answered = 0
        """The newest ask for a checkpoint that this group, or one it came from, began to answer."""
        self._ask = 0

    @property
    def checkpoint_due(self) -> bool:
        """At the step boundary where the state is now."""
        step = self._state.step
        return self._ask > 0 or (step > 0 and step % self._cadence.checkpoint_every == 0)

    @property
    def saves(self) -> bool:
        """At the step boundary where the state is now a copy of it is made, as checkpoint or snapshot."""
        return self.checkpoint_due or self._snapshot_due

    def formed(
        self, rank: int, step: int, committed: Collection[int], answered: int, nodes: Sequence[str]
    ) -> None:
        """A generation goes on from `step`; `committed` are the steps of the checkpoints it was offered,
        `answered` is the newest ask that any of its members knows to be answered, `nodes` are those of its
        members in rank order."""
        self._formed_step = step
        self._wards = wards_of(rank, nodes)
        self._pace.begin(step)
        self._snapshot_due = False
        self._committed = frozenset(committed)
        self.answered = answered
        self._ask = 0

    def unanswered(self, ask: int) -> int:
        """The ask itself, or 0 where it was answered."""
        return ask if ask > self.answered else 0

    def wants_snapshot(self) -> bool:
        """Whether one should follow the step that is done next; asked of rank 0."""
        return self._saver.ready and self._pace.due(self._state.step + 1, self._saver.copy_s)

    def answer(self, ask: int, *, snapshot: bool) -> None:
        """At this step boundary, as all members do; 0 is none."""
        self._ask, self._snapshot_due = ask, snapshot
        self.answered = max(self.answered, ask)

    def at_step_boundary(self, group: ElasticGroup, generation: int) -> None:
        step, every = self._state.step, self._cadence.evaluate_every
        if step and every and step % every == 0:
            self._evaluate(group, generation)
        if self.saves:
            self._save(group, generation)
        elif step > 0:
            self._saver.prepare(self._origin(group, generation))
        self._ask, self._snapshot_due = 0, False

    def distrust(self, after: int) -> None:
        """The state of later steps is not to be trusted, nor is a snapshot of it."""
        self._saver.forget(after)

    def finish(self, group: ElasticGroup, generation: int, *, stopped: bool) -> Finished:
        """The last duties; returns only when every member got here, and has its parts of the last checkpoint
        in storage."""
        if not stopped:
            self._evaluate(group, generation)
        self._progress.enter(Phase.CHECKPOINT)
        saved = self._saver.finish(self._origin(group, generation))
        group.gather(torch.zeros(1))
        return self.finished(stopped=stopped, saved=saved)

    def finished(self, *, stopped: bool, saved: PartsWritten | None = None) -> Finished:
        return Finished(
            saved=saved,
            step=self._state.step,
            parameters_sha256=self._state.parameters_sha256(),
            optimizer_sha256=self._state.optimizer_sha256(),
            stopped=stopped,
            metrics=self._state.metrics or {},
        )

    def _evaluate(self, group: ElasticGroup, generation: int) -> None:
        if not self._validation or self._state.evaluated_step == self._state.step:
            return
        self._progress.enter(Phase.EVALUATE)
        rows = min(len(self._validation), self._cadence.evaluate_rows)
        names = self._sum_names()
        owned = owned_shards(self._num_shards, group.rank, group.size)
        leaves = {
            (shard, shard + 1): self._evaluate_shard(
                range(*owned_shards(rows, shard, self._num_shards)), names
            )
            for shard in range(*owned)
        }

        def partial(node: tuple[int, int]) -> torch.Tensor:
            if node in leaves:
                return leaves[node]
            return partial((node[0], middle(node))) + partial((middle(node), node[1]))

        partials = {node: partial(node) for node in maximal_nodes(owned, self._num_shards)}
        total, _ = tree_sum(group, partials, torch.zeros(1, dtype=torch.float64), self._num_shards)
        count, *sums = total.tolist()
        means = {
            f"val_{name}": value / (count or 1.0) for name, value in zip(("loss", *names), sums, strict=True)
        }
        self._state.metrics = {k: float(v) for k, v in self._task.summarise(means).items()}
        self._state.evaluated_step = self._state.step
        if group.rank == 0:
            self._report(Evaluated(self._worker_id, generation, self._state.step, self._state.metrics))

    def _evaluate_shard(self, rows: range, names: Sequence[str]) -> torch.Tensor:
        """(count, loss, further sums in the order of `names`) over the rows, float64."""
        sums = torch.zeros(2 + len(names), dtype=torch.float64)
        for start in range(rows.start, rows.stop, self._cadence.rows_at_once):
            found = self._evaluate_rows(range(start, min(start + self._cadence.rows_at_once, rows.stop)))
            values = [float(found.count), float(found.total), *(float(found.sums[name]) for name in names)]
            sums += torch.tensor(values, dtype=torch.float64)
        return sums

    def _evaluate_rows(self, rows: range) -> ShardLoss:
        assert self._validation is not None
        self._state.model.eval()
        seed_everything(0, rows.start)
        batch = self._task.collate([self._validation[row] for row in rows])
        with torch.no_grad(), forward_in(self._precision, self._device):
            self._progress.enter(Phase.EVALUATE)
            return self._task.evaluate(self._state.model, to_device(batch, self._device))

    def _sum_names(self) -> tuple[str, ...]:
        return tuple(sorted(self._evaluate_rows(range(1)).sums))

    def _save(self, group: ElasticGroup, generation: int) -> None:
        """Begin to save this member's parts, unless they lie in a checkpoint that this group came from."""
        step = self._state.step
        begun = time.perf_counter()
        self._pace.taken(step)
        if not self.checkpoint_due:
            self._saver.snapshot(self._origin(group, generation))
        elif step != self._formed_step or step not in self._committed:
            self._saver.begin(self._origin(group, generation))
        self._state.held_up_s += time.perf_counter() - begun

    def _origin(self, group: ElasticGroup, generation: int) -> Origin:
        who = (self._worker_id, self._attempt, generation, group.rank, group.size)
        return Origin(*who, ask=self._ask, wards=self._wards)
