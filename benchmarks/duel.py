"""Two trainers in the same processes take turns, so that both meet the same machine in the same minutes.

One is a Tumbler worker as it lives in any run, only without a controller; the other is stock
DistributedDataParallel on the group of the TorchTrainer, or Tumbler's own `train.consistency: fast`. Between
two updates of Tumbler's, in the hook after its optimizer, the referee lets the other one train.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist
from ray import train as ray_train
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from benchmarks.referee import FAST, STOCK, Referee, Stopwatch, turns
from orchestrator.domain.order import BatchPlan
from orchestrator.domain.spec import RunSpec
from trainers.elastic.group import ElasticGroup
from trainers.elastic.intake import Intake
from trainers.elastic.job import WorkerJob
from trainers.elastic.link import WorkerLink
from trainers.elastic.mailbox import Mailbox
from trainers.elastic.messages import Finished, Offer, Report, StepsDone, WorkerProfile
from trainers.elastic.partials import StepGradients
from trainers.elastic.reduction import TreeExchange
from trainers.elastic.state import TrainState
from trainers.elastic.step import StepRunner, seed_everything
from trainers.task_registry import load_task
from trainers.worker_life import live

ENOUGH_STEPS = 1_000_000


@dataclass(frozen=True)
class DuelPlan:
    """Crosses processes as a dict."""

    global_batch: int
    num_blocks: int
    """Of both together, in the order ABBA."""
    steps_per_block: int
    num_warmup: int
    """Steps of each before the first block."""
    folder: str
    """Empty; Tumbler's run directory."""
    storage: str
    """Prepared data."""
    num_workers: int = 2
    opponent: str = STOCK
    """STOCK or FAST."""

    @property
    def spec(self) -> RunSpec:
        return RunSpec(
            name="duel",
            task="language_model",
            model={"preset": "gpt-nano"},
            workers=self.num_workers,
            train={"steps": ENOUGH_STEPS, "global_batch": self.global_batch, "logical_shards": 8},
            checkpoint={"every": ENOUGH_STEPS},
        )


class Stock:
    """What a user of stock Ray Train writes: DDP and an optimizer, each rank with its part of the batch.

    Its rows are looked up beforehand, so that it does not pay for Tumbler's order of the data.
    """

    def __init__(self, plan: DuelPlan, rank: int, world: int) -> None:
        spec = plan.spec
        assert spec.task is not None
        self._task = load_task(spec.task, spec.model)
        self._rows = self._task.build_dataset(spec.data, Path(plan.storage)).train
        order = BatchPlan(len(self._rows), plan.global_batch, world, spec.shuffle_seed)
        num_steps = plan.num_warmup + plan.num_blocks * plan.steps_per_block
        self._batches = iter([order.rows(step, rank) for step in range(1, num_steps + 1)])
        seed_everything(spec.train.seed)
        model = self._task.build_model()
        self.optimizer = self._task.build_optimizer(model, spec.train.optimizer)
        self._model = DistributedDataParallel(model)
        self.losses: list[float] = []
        """This rank's, by step."""

    def train(self, num_steps: int) -> None:
        with default_numerics():
            for _ in range(num_steps):
                batch = self._task.collate([self._rows[row] for row in next(self._batches)])
                self.optimizer.zero_grad()
                loss = self._task.loss(self._model, batch)
                mean = loss.total / loss.count
                mean.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                self.losses.append(mean.item())


class Fast:
    """Tumbler's steps without the promise of bits, in a plain loop: it pays for no reports and no duties."""

    def __init__(self, plan: DuelPlan, rank: int, world: int) -> None:
        spec = plan.spec
        assert spec.task is not None
        train = spec.train.model_copy(update={"consistency": "fast"})
        task = load_task(spec.task, spec.model)
        rows = task.build_dataset(spec.data, Path(plan.storage)).train
        order = BatchPlan(len(rows), plan.global_batch, train.logical_shards, spec.shuffle_seed)
        seed_everything(train.seed)
        model = task.build_model()
        self.optimizer = task.build_optimizer(model, train.optimizer)
        state = TrainState(model, self.optimizer, None)
        self._steps = StepRunner(
            task, state, Intake(rows, order), order, train, num_steps=ENOUGH_STEPS, device=torch.device("cpu")
        )
        self._steps.warm_up()
        store = dist.FileStore(str(Path(plan.folder, "fast")), world)
        dist.barrier()
        self._group = ElasticGroup(store, rank, world, backend="gloo", host="127.0.0.1", timeout_s=120.0)
        self.losses: list[float] = []
        """The same on all ranks, by step."""

    def train(self, num_steps: int) -> None:
        with default_numerics():
            for _ in range(num_steps):
                point, _ = self._steps.step(self._group, torch.zeros(2), generation=1)
                self.losses.append(point.metrics["loss"])


@contextmanager
def default_numerics() -> Iterator[None]:
    """torch as a user finds it, whatever Tumbler has set in this process."""
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)


class OneGeneration(Mailbox):
    """Offers the only generation of a duel as soon as all workers are warm; torch's default group must be
    there."""

    def announce_warm(self, profile: WorkerProfile) -> None:
        super().announce_warm(profile)
        everybody: list[WorkerProfile] = [profile] * dist.get_world_size()
        dist.all_gather_object(everybody, profile)
        self.offer(
            Offer(
                generation=1,
                members=tuple(member.worker_id for member in everybody),
                nodes=tuple(member.node_id for member in everybody),
                store_host=everybody[0].store_host,
                store_port=everybody[0].store_port,
                recorded_step=0,
            )
        )


def work(config: dict[str, Any]) -> dict[str, Any]:
    """One worker: `train_loop_per_worker` of the trainer. Returns `blocks` and `loss_difference` of rank 0.

    Takes `plan`, a DuelPlan as a dict, and `listener`, an actor with `take_report`, which costs Tumbler what
    its controller would.
    """
    plan = DuelPlan(**config["plan"])
    context = ray_train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(1)
    other = (Fast if plan.opponent == FAST else Stock)(plan, rank, world)
    mailbox, stopwatch = OneGeneration(), Stopwatch()
    referee = Referee(
        turns(plan.num_blocks, plan.opponent),
        plan.steps_per_block,
        plan.num_warmup,
        train_other=other.train,
        barrier=dist.barrier,
        stopwatch=stopwatch,
    )
    losses: dict[int, float] = {}

    def report(what: Report) -> None:
        config["listener"].take_report.remote(what)
        if isinstance(what, StepsDone):
            losses.update((point.step, point.metrics["loss"]) for point in what.points)

    def after_update(optimizer: Optimizer, *_: Any) -> None:
        stopwatch.stop("update")
        if optimizer is not other.optimizer and not referee.after_update():
            mailbox.request_stop()

    link = WorkerLink(
        worker_id=f"w{rank}",
        mailbox=mailbox,
        report=report,
        on_generation=lambda offer, rank: None,
        host=ray.util.get_node_ip_address(),
        pid=os.getpid(),
        node_id=ray.get_runtime_context().get_node_id(),
    )
    job = WorkerJob(plan.spec, Path(plan.folder), Path(plan.storage), attempt=1)
    with ExitStack() as stack:
        stack.callback(register_optimizer_step_pre_hook(stopwatch.start).remove)
        stack.callback(register_optimizer_step_post_hook(after_update).remove)
        stack.enter_context(stopwatch.inside(StepGradients, "partials", "compute"))
        stack.enter_context(stopwatch.inside(TreeExchange, "finish", "exchange"))
        outcome = live(job, link)
    if not isinstance(outcome, Finished):
        raise RuntimeError(f"Tumbler's worker ended with {outcome}")
    difference = _loss_difference(other.losses, losses, world)
    return {"blocks": [asdict(block) for block in referee.blocks], "loss_difference": difference}


def _loss_difference(other: Sequence[float], tumbler: dict[int, float], world: int) -> float:
    """The largest relative difference of a step's loss, as both must do the same work; only rank 0 knows
    Tumbler's."""
    total = torch.tensor(other, dtype=torch.float64)
    dist.all_reduce(total)
    means = (total / world).tolist()
    return max(
        (abs(tumbler[step] / mean - 1) for step, mean in enumerate(means, 1) if step in tumbler), default=0.0
    )
