"""Training loops as threads of one process, and a referee that offers them generations."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel
from torch import nn

from orchestrator.domain.order import BatchPlan
from orchestrator.domain.spec_training import OptimizerSpec, TrainSpec
from tests.unit.gang import HOST
from tests.unit.saving import WriterHere
from trainers.checkpoints.pace import SnapshotPace
from trainers.checkpoints.saver import Saver
from trainers.elastic.duties import Cadence, Duties
from trainers.elastic.group import open_meeting_place
from trainers.elastic.intake import Intake
from trainers.elastic.loop import Surroundings, TrainingLoop
from trainers.elastic.mailbox import Mailbox
from trainers.elastic.messages import Finished, Offer, Outcome, Report
from trainers.elastic.state import TrainState
from trainers.elastic.step import StepRunner
from trainers.elastic.verification import Verification
from trainers.task import ShardLoss, Task

WITHIN_S = 30.0
SHARDS, BATCH, STEPS = 4, 8, 12


class Nothing(BaseModel):
    pass


class Line:
    """Row i is the number i and what a straight line makes of it."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        x = torch.tensor([index / 1000, 1.0])
        return x, 3 * x.sum(), index


class Lines(Task[Nothing]):
    """`on_rows` sees the rows of every logical shard before its loss, and may return a factor for it."""

    Config = Nothing

    def __init__(self, on_rows: Callable[[list[int]], float | None]):
        super().__init__(Nothing())
        self._on_rows = on_rows

    def build_model(self) -> nn.Module:
        # A generator of its own: that of torch is shared by all threads.
        model = nn.Linear(2, 3)
        generator = torch.Generator().manual_seed(5)
        for parameter in model.parameters():
            nn.init.normal_(parameter, generator=generator)
        return model

    def loss(self, model: nn.Module, batch: Any) -> ShardLoss:
        x, y, rows = batch
        factor = self._on_rows(rows.tolist())
        loss = (model(x).sum(1) - y).square().sum()
        return ShardLoss(loss if factor is None else loss * factor, len(x))


@dataclass
class Member:
    """One worker: a loop in a thread, its mailbox, and the state it trains."""

    name: str
    folder: Path
    reports: queue.Queue[Report]
    verify_every: int
    on_nan: Literal["skip", "rollback", "fail"]
    on_rows: Callable[["Member", list[int]], float | None]
    mailbox: Mailbox = field(default_factory=Mailbox)

    def __post_init__(self) -> None:
        self.place = open_meeting_place(HOST)
        task = Lines(lambda rows: self.on_rows(self, rows))
        model = task.build_model()
        optimizer = task.build_optimizer(model, OptimizerSpec(lr=0.05))
        self.state = TrainState(model, optimizer, None)
        plan = BatchPlan(1000, BATCH, SHARDS, seed=3)
        device = torch.device("cpu")
        train = TrainSpec(global_batch=BATCH, logical_shards=SHARDS, seed=1)
        intake = Intake(Line(), plan)
        steps = StepRunner(task, self.state, intake, plan, train, num_steps=STEPS, device=device)
        steps.progress = self.mailbox.progress
        steps.warm_up()
        duties = Duties(
            task,
            self.state,
            None,
            Cadence(checkpoint_every=1000, evaluate_every=None, evaluate_rows=8, rows_at_once=2),
            saver=Saver(self.state, str(self.folder), SHARDS, self.reports.put, WriterHere()),
            pace=SnapshotPace("never"),
            attempt=1,
            num_shards=SHARDS,
            worker_id=self.name,
            device=device,
            report=self.reports.put,
        )
        here = Surroundings(self.name, HOST, "gloo", WITHIN_S, self.place)
        self._loop = TrainingLoop(
            here,
            self.mailbox,
            steps,
            duties,
            self.reports.put,
            lambda offer, rank: None,
            restore=lambda group, state, offer: (None, []),
            verification=Verification(self.state, self.verify_every, task.build_model),
            on_nan=self.on_nan,
        )

    def live(self) -> Outcome:
        self.mailbox.progress.begin(self._loop.announce)
        return self._loop.run()


class Referee:
    """Offers generations, and hears what the members say of them."""

    def __init__(self, members: dict[str, Member], reports: queue.Queue[Report], pool: ThreadPoolExecutor):
        self.members = members
        self.heard: list[Report] = []
        self._reports = reports
        self._generation = 0
        self._members: tuple[str, ...] = ()
        self._lives = {name: pool.submit(member.live) for name, member in members.items()}

    def offer(self, *names: str, **facts: Any) -> None:
        self._generation += 1
        place = self.members[names[0]].place
        nodes = tuple("node" for _ in names)
        offer = Offer(self._generation, names, nodes, HOST, place.port, recorded_step=0, **facts)
        for name in dict.fromkeys((*self._members, *names)):
            self.members[name].mailbox.offer(offer)
        self._members = names

    def hear(self, kind: type[Report]) -> Any:
        """The next report of a kind, in the newest generation."""
        while True:
            report = self._reports.get(timeout=WITHIN_S)
            self.heard.append(report)
            if isinstance(report, kind) and report.generation == self._generation:
                return report

    def outcome(self, name: str) -> Outcome:
        return self._lives[name].result(WITHIN_S)

    def finished(self, name: str) -> Finished:
        outcome = self.outcome(name)
        assert isinstance(outcome, Finished), outcome
        return outcome


@contextmanager
def loops(
    folder: Path,
    *names: str,
    verify_every: int = 4,
    on_nan: Literal["skip", "rollback", "fail"] = "skip",
    on_rows: Callable[[Member, list[int]], float | None] = lambda member, rows: None,
) -> Iterator[Referee]:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(names)))
        reports: queue.Queue[Report] = queue.Queue()
        members = {name: Member(name, folder, reports, verify_every, on_nan, on_rows) for name in names}
        referee = Referee(members, reports, pool)
        try:
            yield referee
        finally:
            for member in members.values():
                member.mailbox.request_stop()  # for those whom no generation names any more
            for thread in threading.enumerate():
                if thread.name == "meeting":
                    thread.join(WITHIN_S)
