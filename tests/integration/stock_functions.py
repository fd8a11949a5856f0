"""A Ray Train function as users have it, and a script as torchrun starts it (this file, run by
`command:`)."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist


def train_function(config: dict[str, Any]) -> None:
    """Counts to `steps` over all workers; with `die_once` rank 1 ends itself the first time it gets to step
    3."""
    context = ray.train.get_context()
    step = 0
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            step = int(Path(folder, "step").read_text())
    while step < config["steps"]:
        step += 1
        total = torch.ones(1)
        dist.all_reduce(total)
        once = Path(config["die_once"])
        if step == 3 and context.get_world_rank() == 1 and not once.exists():
            once.touch()
            os._exit(9)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "step").write_text(str(step))
            saved = ray.train.Checkpoint.from_directory(folder) if context.get_world_rank() == 0 else None
            ray.train.report({"step": step, "world": float(total)}, checkpoint=saved)


def script() -> None:
    dist.init_process_group("gloo")
    rank = torch.tensor([float(os.environ["RANK"])])
    dist.all_reduce(rank)
    path = Path(sys.argv[1], f"{os.environ['RANK']}-of-{os.environ['WORLD_SIZE']}")
    path.write_text(f"{os.environ['TUMBLER_RUN_NAME']} {rank.item()}")
    dist.destroy_process_group()


if __name__ == "__main__":
    script()
