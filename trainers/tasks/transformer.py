"""A decoder-only transformer in the shape of GPT-2.

This file goes with every exported model as its model.py, so it imports nothing but torch.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

_INITIAL_STD = 0.02


class Sizes(Protocol):
    """Of a transformer; the config of the language model has them."""

    @property
    def layers(self) -> int: ...

    @property
    def heads(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def context(self) -> int: ...

    @property
    def vocabulary(self) -> int: ...

    @property
    def dropout(self) -> float: ...


class Transformer(nn.Module):
    """Token ids in, logits out: pre-norm blocks, learned positions, output weights tied to the token
    embedding.

    Initialised as GPT-2: normal with deviation 0.02, zero biases, and the projections that write to the
    residual stream scaled by 1/sqrt(number of such projections) (Radford et al., "Language models are
    unsupervised multitask learners", 2019, section 2.3).
    """

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self._initialise()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, length, vocabulary) of token ids (batch, length); length is at most
        `config.context`."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        stream = self.dropout(self.tokens(tokens) + self.positions(places))
        for block in self.blocks:
            stream = block(stream)
        logits: Tensor = functional.linear(self.norm(stream), self.tokens.weight)
        return logits

    def _initialise(self) -> None:
        num_writes = 2 * self.config.layers
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                writes_to_stream = name.endswith(("attention.project.weight", "contract.weight"))
                std = _INITIAL_STD / math.sqrt(num_writes) if writes_to_stream else _INITIAL_STD
                nn.init.normal_(parameter, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)


class Block(nn.Module):
    """Attention, then a feed-forward layer four times as wide; each reads a normed stream and adds to it."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = CausalAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)

    def forward(self, stream: Tensor) -> Tensor:
        stream = stream + self.attention(self.attention_norm(stream))
        written: Tensor = self.feed_forward(self.feed_forward_norm(stream))
        return stream + written


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a token sees itself and what came before."""

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.head_width = config.width // config.heads
        # Rows of the weight are ordered head by head, so that whole heads can be cut off it.
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.project = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, stream: Tensor) -> Tensor:
        batch, length, _ = stream.shape
        heads = self.query_key_value(stream).view(batch, length, -1, 3, self.head_width)
        query, key, value = heads.permute(3, 0, 2, 1, 4)
        dropout = self.dropout.p if self.training else 0.0
        seen = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        written: Tensor = self.dropout(self.project(seen.transpose(1, 2).reshape(batch, length, -1)))
        return written


class FeedForward(nn.Module):
    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.expand = nn.Linear(config.width, 4 * config.width)
        self.contract = nn.Linear(4 * config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, stream: Tensor) -> Tensor:
        hidden = functional.gelu(self.expand(stream), approximate="tanh")
        written: Tensor = self.dropout(self.contract(hidden))
        return written
