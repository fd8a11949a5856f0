"""The training loop of the peers that restart: plain DDP with a checkpoint every so many steps."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch.nn.parallel import DistributedDataParallel

from benchmarks.drill import Plan
from benchmarks.steps import StepLog
from benchmarks.workload import load_workload

State = Mapping[str, Any]
"""`model`, `optimizer` and `step`: the last step that is in them."""


def train(
    plan: Plan, *, rank: int, world: int, restored: State | None, save: Callable[[Callable[[], State]], None]
) -> None:
    """Train until the process is ended. The default process group must be there.

    All ranks call `save` after every `plan.checkpoint_every` steps; the one that stores the state calls its
    argument.
    """
    workload = load_workload(plan.workload, plan.seed, Path(plan.storage))
    num_done = 0
    if restored is not None:
        workload.model.load_state_dict(restored["model"])
        workload.optimizer.load_state_dict(restored["optimizer"])
        num_done = restored["step"]
    model = DistributedDataParallel(workload.model)
    log = StepLog(plan.log)

    def state(step: int) -> State:
        return {
            "model": workload.model.state_dict(),
            "optimizer": workload.optimizer.state_dict(),
            "step": step,
        }

    for step in itertools.count(num_done + 1):
        workload.optimizer.zero_grad()
        workload.batch_loss(model, step, rank, world).backward()
        workload.optimizer.step()
        log.write(step, rank=rank, world=world)
        if step % plan.checkpoint_every == 0:
            save(partial(state, step))
