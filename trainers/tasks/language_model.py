"""The built-in task `language_model`: predict the next token of a text corpus."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional

from trainers.feed.packing import PackedRow
from trainers.feed.run_feed import pinned_scan
from trainers.feed.tokenizers import ByteTokenizer, Tokenizer, load_tokenizer
from trainers.task import ShardLoss, Task
from trainers.tasks.language_model_config import LanguageModelConfig
from trainers.tasks.transformer import Transformer

_IGNORED = -100
_TEMPERATURE = 0.8


class TokenBatch(NamedTuple):
    """Rows of a corpus, both (rows, context) int64."""

    inputs: Tensor
    targets: Tensor
    """The input shifted by one; -100 where a short row is padded, which no loss counts."""


class LanguageModel(Task[LanguageModelConfig]):
    """A decoder-only transformer on packed text; the count of a loss is the number of tokens predicted."""

    Config: ClassVar[type[BaseModel]] = LanguageModelConfig

    def collate(self, items: Sequence[PackedRow]) -> TokenBatch:
        tokens = torch.from_numpy(np.stack([row.tokens for row in items]))
        num_targets = torch.tensor([row.num_targets for row in items])
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].clone()
        padding = torch.arange(targets.shape[1])[None, :] >= num_targets[:, None]
        return TokenBatch(inputs, targets.masked_fill_(padding, _IGNORED))

    def build_model(self) -> Transformer:
        return Transformer(self.config)

    def loss(self, model: nn.Module, batch: TokenBatch) -> ShardLoss:
        logits = model(batch.inputs)
        total = functional.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        return ShardLoss(total, int((batch.targets != _IGNORED).sum()))

    def summarise(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """Adds `val_perplexity`, the exponential of `val_loss` (nats per token)."""
        if "val_loss" not in means:
            return means
        return {**means, "val_perplexity": _exp(means["val_loss"])}

    def generate(self, model: nn.Module, prompt: str, *, max_tokens: int, seed: int) -> str:
        """What follows `prompt`, at most `max_tokens` of it, ending early at an end of text.

        Sampled at temperature 0.8; the same seed gives the same text. Bytes that are no UTF-8 come out as
        U+FFFD.
        """
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(seed)
        tokenizer = self._tokenizer()
        tokens = [tokenizer.end_of_text, *tokenizer.encode(prompt).tolist()]
        num_given = len(tokens)
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                while len(tokens) < num_given + max_tokens:
                    seen = torch.tensor([tokens[-self.config.context :]], device=device)
                    token = _sample(model(seen)[0, -1, : tokenizer.vocabulary], generator)
                    if token == tokenizer.end_of_text:
                        break
                    tokens.append(token)
        finally:
            model.train(was_training)
        return tokenizer.decode(tokens[num_given:])

    def _tokenizer(self) -> Tokenizer:
        """That of the run, which lies beside its rows; bytes outside of a run."""
        if self.feed is None or pinned_scan(self.feed.run_folder).recipe.tokenizer == "bytes":
            return ByteTokenizer()
        return load_tokenizer("bpe", self.feed.folder)


def _sample(logits: Tensor, generator: torch.Generator) -> int:
    """One of the ids that stand for text."""
    # Drawn on the CPU: a seed means the same draw on any device.
    weights = (logits.float().cpu() / _TEMPERATURE).softmax(dim=0)
    return int(torch.multinomial(weights, 1, generator=generator))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
