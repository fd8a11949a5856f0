"""The workload of the benchmarks: Tumbler's own small language model, for a trainer that knows no Tumbler."""

from pathlib import Path

import torch
from torch import nn

from benchmarks.workload import Workload
from orchestrator.domain.order import BatchPlan
from orchestrator.domain.spec import DataSpec, OptimizerSpec
from trainers.tasks.language_model import LanguageModel
from trainers.tasks.language_model_config import LanguageModelConfig

GLOBAL_BATCH = 64
SMALL_BATCH = 8


def gpt_nano(seed: int, storage: Path) -> Workload:
    """The preset `gpt-nano` with AdamW on the interpreter's own library, 64 rows a step."""
    return _gpt_nano(seed, storage, GLOBAL_BATCH)


def gpt_nano_small_batch(seed: int, storage: Path) -> Workload:
    """As `gpt_nano`, 8 rows a step: a step of two workers takes less than 0.1 s on two cores."""
    return _gpt_nano(seed, storage, SMALL_BATCH)


def _gpt_nano(seed: int, storage: Path, global_batch: int) -> Workload:
    task = LanguageModel(LanguageModelConfig.model_validate({"preset": "gpt-nano"}))
    rows = task.build_dataset(DataSpec(), storage).train

    def batch_loss(model: nn.Module, step: int, part: int, num_parts: int) -> torch.Tensor:
        plan = BatchPlan(len(rows), global_batch, num_parts, seed)
        loss = task.loss(model, task.collate([rows[row] for row in plan.rows(step, part)]))
        return loss.total / loss.count

    model = task.build_model()
    return Workload(model, task.build_optimizer(model, OptimizerSpec()), batch_loss)
