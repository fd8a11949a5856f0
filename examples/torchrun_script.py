"""An ordinary script for torchrun: it reads RANK, WORLD_SIZE and the rest, and knows nothing of Tumbler.

`torchrun --nproc-per-node 2 examples/torchrun_script.py --checkpoint line.pt` runs it too.
"""

import argparse
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--checkpoint", type=Path, required=True)
    options = parser.parse_args()

    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank())
    model = DistributedDataParallel(nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = 0
    if options.checkpoint.exists():  # the group was restarted: go on where the last one was
        saved = torch.load(options.checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        first = saved["step"]
    for step in range(first + 1, options.steps + 1):
        x = torch.rand(32, 1)
        loss = (model(x) - (3 * x + 1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if dist.get_rank() == 0 and step % 50 == 0:
            aside = options.checkpoint.with_suffix(".aside")
            torch.save({"model": model.state_dict(), "step": step}, aside)
            aside.rename(options.checkpoint)
            print(f"step {step} of {options.steps}, {dist.get_world_size()} workers, loss {loss.item():.2e}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
