import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.domain.spec_training import DataSpec, OptimizerSpec
from trainers.feed.packing import PackedRow
from trainers.feed.tokenizers import END_OF_TEXT
from trainers.task_registry import load_task
from trainers.tasks.language_model import LanguageModel

SMALL = {"layers": 1, "heads": 2, "width": 16, "context": 8}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def a_task(**fields: Any) -> LanguageModel:
    task = load_task("language_model", {**SMALL, **fields})
    assert isinstance(task, LanguageModel)
    return task


def a_model(task: LanguageModel) -> nn.Module:
    torch.manual_seed(1)
    return task.build_model()


def a_row(first: int, num_targets: int = 8) -> PackedRow:
    tokens = np.full(9, END_OF_TEXT, dtype=np.int64)
    tokens[: num_targets + 1] = np.arange(first, first + num_targets + 1)
    return PackedRow(tokens, num_targets)


class Always(nn.Module):
    """A model that is certain of one token."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token
        self.lengths: list[int] = []
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor) -> Tensor:
        self.lengths.append(tokens.shape[1])
        logits = torch.zeros(*tokens.shape, 300)
        logits[..., self.token] = 1e4
        logits[..., 299] = 2e4
        return logits


def test_a_target_is_the_next_token_and_padding_is_none() -> None:
    batch = a_task().collate([a_row(10), a_row(50, num_targets=2)])
    assert batch.inputs[0].tolist() == [10, 11, 12, 13, 14, 15, 16, 17]
    assert batch.targets[0].tolist() == [11, 12, 13, 14, 15, 16, 17, 18]
    assert batch.targets[1].tolist() == [51, 52, -100, -100, -100, -100, -100, -100]


def test_the_loss_is_a_sum_over_the_tokens_that_count() -> None:
    task = a_task()
    model = a_model(task)
    long, short = a_row(10), a_row(50, num_targets=2)
    both = task.loss(model, task.collate([long, short]))
    parts = [task.loss(model, task.collate([row])) for row in (long, short)]
    assert (both.count, [part.count for part in parts]) == (10, [8, 2])
    assert float(both.total.detach()) == pytest.approx(sum(float(part.total.detach()) for part in parts))
    assert float(both.total.detach()) / both.count == pytest.approx(math.log(257), rel=0.05)


def test_padding_does_not_reach_the_gradient() -> None:
    task = a_task()
    gradients = []
    for padding in (END_OF_TEXT, 7):
        model = a_model(task)
        row = a_row(50, num_targets=2)
        row.tokens[3:] = padding
        task.loss(model, task.collate([row])).total.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) > 0
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


def test_it_learns_a_row_by_heart() -> None:
    task = a_task()
    model = a_model(task)
    optimizer = task.build_optimizer(model, OptimizerSpec(lr=1e-2))
    batch = task.collate([a_row(10), a_row(100)])
    for _ in range(60):
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        (loss.total / loss.count).backward()
        optimizer.step()
    assert float(loss.total.detach()) / loss.count < 0.1


def test_evaluation_has_no_gradient_and_no_dropout_and_leaves_the_mode_alone() -> None:
    task = a_task(dropout=0.5)
    model = a_model(task)
    batch = task.collate([a_row(10)])
    first, second = task.evaluate(model, batch), task.evaluate(model, batch)
    assert torch.equal(first.total, second.total)
    assert not first.total.requires_grad
    assert model.training
    model.eval()
    task.evaluate(model, batch)
    assert not model.training


def test_perplexity_is_the_exponential_of_the_validation_loss() -> None:
    task = a_task()
    assert task.summarise({"val_loss": 2.0}) == {"val_loss": 2.0, "val_perplexity": math.exp(2.0)}
    assert task.summarise({"val_loss": 1e6})["val_perplexity"] == math.inf
    assert task.summarise({"loss": 2.0}) == {"loss": 2.0}


def test_the_same_seed_says_the_same_and_another_says_something_else() -> None:
    task = a_task()
    model = a_model(task)
    said = [task.generate(model, "def ", max_tokens=30, seed=seed) for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]
    assert model.training


def test_generating_leaves_the_global_generator_alone() -> None:
    task = a_task()
    model = a_model(task)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    task.generate(model, "x", max_tokens=5, seed=1)
    assert torch.equal(torch.rand(1), expected)


def test_only_the_new_text_is_returned_and_the_model_sees_no_more_than_its_context() -> None:
    model = Always(ord("y"))
    assert a_task().generate(model, "a prompt longer than the context", max_tokens=12, seed=1) == "y" * 12
    assert max(model.lengths) == 8


def test_an_empty_prompt_starts_a_document() -> None:
    model = Always(ord("y"))
    assert a_task().generate(model, "", max_tokens=3, seed=1) == "yyy"
    assert model.lengths[0] == 1


def test_generation_ends_with_the_document() -> None:
    assert a_task().generate(Always(END_OF_TEXT), "x", max_tokens=12, seed=1) == ""


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    assert a_task().generate(Always(0xFF), "x", max_tokens=2, seed=1) == "\ufffd\ufffd"


def test_rows_come_from_a_text_corpus_in_the_length_of_the_context(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello world " * 100)
    data = DataSpec(source=str(tmp_path / "text.txt"), validation_fraction=0.1)
    found = a_task().build_dataset(data, tmp_path)
    assert found.validation is not None
    assert (len(found.train), len(found.validation)) == (135, 15)
    assert bytes(found.train[0].tokens.tolist()) == b"hello wor"
