"""An ordinary Ray Train function, as TorchTrainer takes it: it knows nothing of Tumbler.

It restarts as Ray Train does: the whole group, from the newest checkpoint that it reported.
"""

import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import nn


def train_line(config: dict[str, Any]) -> None:
    """Fit y = 3 x + 1."""
    torch.manual_seed(ray.train.get_context().get_world_rank())
    model = ray.train.torch.prepare_model(nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    first = 0
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            saved = torch.load(Path(folder, "state.pt"), weights_only=True)
        model.load_state_dict(saved["model"])
        first = saved["epoch"] + 1
    for epoch in range(first, config["epochs"]):
        for _ in range(config["steps_per_epoch"]):
            x = torch.rand(32, 1)
            loss = (model(x) - (3 * x + 1)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with tempfile.TemporaryDirectory() as folder:
            torch.save({"model": model.state_dict(), "epoch": epoch}, Path(folder, "state.pt"))
            mine = ray.train.Checkpoint.from_directory(folder)
            first_rank = ray.train.get_context().get_world_rank() == 0
            ray.train.report({"loss": loss.item(), "epoch": epoch}, checkpoint=mine if first_rank else None)
