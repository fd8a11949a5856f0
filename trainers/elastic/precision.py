"""In which precision a forward pass computes."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, assert_never

import torch

Precision = Literal["fp32", "bf16"]


def forward_in(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The context of a forward pass. Parameters, gradients and all sums over shards stay float32."""
    match precision:
        case "fp32":
            return nullcontext()
        case "bf16":
            return torch.autocast(device.type, dtype=torch.bfloat16)
        case _:
            assert_never(precision)
