"""Peer: torchrun, one node, two workers. Its agent restarts the whole group when a worker dies."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import distributed

from benchmarks.drill import IsAlive, Plan
from benchmarks.peers.processes import python_module, running
from benchmarks.peers.restarting import State, train


@contextmanager
def launch(plan: Plan) -> Iterator[IsAlive]:
    """See `benchmarks.drill.Launch`."""
    agent = python_module("torch.distributed.run", "--standalone", "--nnodes", "1", "--max-restarts", "3")
    workers = ["--nproc-per-node", str(plan.num_workers), "-m", "benchmarks.peers.torchrun", plan.to_json()]
    with running([*agent, *workers], Path(plan.folder, "torchrun.log")) as process:
        yield lambda: process.poll() is None


def work(plan: Plan) -> None:
    """One worker, with the environment that torchrun set."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    checkpoint = Path(plan.folder, "checkpoint.pt")
    distributed.init_process_group("gloo")
    restored = torch.load(checkpoint) if checkpoint.exists() else None

    def save(state: Callable[[], State]) -> None:
        if rank == 0:
            aside = checkpoint.with_suffix(".new")
            torch.save(state(), aside)
            aside.replace(checkpoint)

    train(plan, rank=rank, world=world, restored=restored, save=save)


if __name__ == "__main__":
    work(Plan.from_json(sys.argv[1]))
