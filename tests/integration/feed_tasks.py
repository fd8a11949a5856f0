"""A task whose rows come through the feed from files of numbers, and the files."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict
from torch import nn

from trainers.task import ShardLoss, Task

PADDING = 50_000
"""Characters in each row that the model does not look at: a segment holds some 80 rows."""


class LineConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(Task[LineConfig]):
    """y from x, both columns of the files."""

    Config = LineConfig

    def build_model(self) -> nn.Module:
        return nn.Linear(4, 1)

    def loss(self, model: nn.Module, batch: Any) -> ShardLoss:
        x, y = batch["x"].float(), batch["y"].float()
        return ShardLoss((model(x).squeeze(1) - y).square().sum(), len(x))


def slowly(row: dict[str, Any]) -> dict[str, Any]:
    """Takes its time, so that there is some to kill the feed in."""
    time.sleep(0.01)
    return row


def picky(row: dict[str, Any]) -> dict[str, Any]:
    if row["y"] > 10:
        raise ValueError("this row is not to my taste")
    return row


def numbers(count: int, *, padding: int = 0) -> Iterator[dict[str, Any]]:
    drawn = random.Random(1)
    for _ in range(count):
        x = [drawn.uniform(-1, 1) for _ in range(4)]
        row: dict[str, Any] = {"x": x, "y": sum(x)}
        if padding:
            row["padding"] = "".join(drawn.choices("abcdefgh", k=padding // 100)) * 100
        yield row


def write_jsonl(folder: Path, *, files: int, rows: int, padding: int = 0) -> None:
    found = list(numbers(files * rows, padding=padding))
    for number in range(files):
        lines = [json.dumps(row) for row in found[number * rows : (number + 1) * rows]]
        (folder / f"part-{number:03d}.jsonl").write_text("\n".join(lines) + "\n")


def write_parquet(folder: Path, *, files: int, rows: int) -> None:
    found = list(numbers(files * rows))
    for number in range(files):
        table = pa.Table.from_pylist(found[number * rows : (number + 1) * rows])
        pq.write_table(table, folder / f"part-{number:03d}.parquet")
