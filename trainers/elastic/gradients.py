"""Where the gradients of a model lie in one flat vector, and when which part of it is complete.

One vector holds the gradients of all parameters and, behind them, the sums that ride along: loss, count of
valid items, and whatever else the task sums.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate

import torch
from torch import nn

from orchestrator.domain.errors import Problem, SpecError
from trainers.task import ShardLoss

_ALIGN = 16
"""Elements; each gradient starts on a 64-byte boundary."""
LOSS, COUNT = 0, 1
_NUM_BUCKETS = 8
_BUCKET_SIZES = (2**16, 2**22)
"""Elements: 256 KiB, below which the messages cost more than they hide, to 16 MiB."""


class GradientVector:
    """The layout of a flat vector: where each parameter's gradient and each riding sum lies."""

    def __init__(self, parameters: Iterable[nn.Parameter], sums: Sequence[str] = ()):
        self.parameters = [p for p in parameters if p.requires_grad]
        if not self.parameters:
            raise SpecError([Problem("model", "it has no trainable parameters")])
        kinds = {p.dtype for p in self.parameters}
        if kinds != {torch.float32}:
            names = ", ".join(sorted(str(kind) for kind in kinds))
            message = f"trainable parameters must be float32, these are {names}; use autocast for less"
            raise SpecError([Problem("model", message)])
        self.sums = tuple(sums)
        sizes = [-(-parameter.numel() // _ALIGN) * _ALIGN for parameter in self.parameters]
        *self._starts, self.num_gradients = accumulate(sizes, initial=0)
        self.length = self.num_gradients + 2 + len(self.sums)
        self.buckets = self._cut()
        """The vector from its end to its start, as a backward pass fills it; the model alone decides."""
        self._device = self.parameters[0].device
        self._views: dict[int, list[torch.Tensor]] = {}

    def zeros(self) -> torch.Tensor:
        return torch.zeros(self.length, dtype=torch.float32, device=self._device)

    def bind(self, vector: torch.Tensor) -> None:
        """Let every parameter's `.grad` be its part of `vector`, which is remembered: give it few ones."""
        views = self._views.get(vector.data_ptr())
        if views is None:
            views = self._views[vector.data_ptr()] = [
                vector[start : start + parameter.numel()].view_as(parameter)
                for parameter, start in zip(self.parameters, self._starts, strict=True)
            ]
        for parameter, view in zip(self.parameters, views, strict=True):
            parameter.grad = view

    def add_sums(self, vector: torch.Tensor, loss: ShardLoss) -> None:
        values = [
            float(loss.total.detach()),
            float(loss.count),
            *(float(loss.sums[name]) for name in self.sums),
        ]
        vector[self.num_gradients :] += torch.tensor(values, dtype=torch.float32, device=vector.device)

    def means(self, vector: torch.Tensor) -> tuple[float, dict[str, float]]:
        """The count, and the mean of loss and of each riding sum over it."""
        loss, count, *rest = vector[self.num_gradients :].tolist()
        if count == 0:
            return 0.0, {"loss": 0.0}
        return count, {"loss": loss / count} | {
            name: value / count for name, value in zip(self.sums, rest, strict=True)
        }

    def bucket_of_each(self) -> list[int]:
        """For each parameter the place of its bucket."""
        return [
            next(place for place, part in enumerate(self.buckets) if part.start <= start < part.stop)
            for start in self._starts
        ]

    def _cut(self) -> list[slice]:
        least, most = _BUCKET_SIZES
        size = min(max(self.num_gradients // _NUM_BUCKETS, least), most)
        buckets, end = [], self.length
        for start in reversed(self._starts):
            if end - start >= size or start == 0:
                buckets.append(slice(start, end))
                end = start
        return buckets


class BucketWatch:
    """Tells during a backward pass which buckets are complete, always in the order of the buckets."""

    def __init__(self, vector: GradientVector):
        self._bucket_of = vector.bucket_of_each()
        self._num_parameters = Counter(self._bucket_of)
        self._num_buckets = len(vector.buckets)
        self._complete: Callable[[int], None] | None = None
        self._arrivals: Counter[int] | None = None
        self._early = True
        for place, parameter in enumerate(vector.parameters):
            hook = partial(self._arrived, place)
            parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        """Look at one backward pass, to learn whether each gradient arrives in one piece.

        Where one does not (a layer that is used again after reentrant checkpointing), nobody can tell when it
        is complete, and all buckets are so at the end.
        """
        self._arrivals = Counter()
        try:
            yield
            self._early = all(count == 1 for count in self._arrivals.values())
        finally:
            self._arrivals = None

    @contextmanager
    def telling(self, complete: Callable[[int], None]) -> Iterator[None]:
        """Call `complete` with the place of each bucket during the backward pass within, or at its end."""
        self._seen: set[int] = set()
        self._missing = [self._num_parameters[place] for place in range(self._num_buckets)]
        self._next = 0
        self._complete = complete if self._early else None
        try:
            yield
        finally:
            self._complete = None
        for place in range(self._next, self._num_buckets):
            complete(place)

    def _arrived(self, place: int, parameter: nn.Parameter) -> None:
        if self._arrivals is not None:
            self._arrivals[place] += 1
        if self._complete is None:
            return
        bucket = self._bucket_of[place]
        if place in self._seen:
            if bucket < self._next:
                raise RuntimeError(
                    f"a gradient of shape {tuple(parameter.shape)} arrived a second time after it was sent; "
                    "the model computes it in pieces at some steps and not at the first one"
                )
            return
        self._seen.add(place)
        self._missing[bucket] -= 1
        while self._next < self._num_buckets and not self._missing[self._next]:
            done, self._next = self._next, self._next + 1
            self._complete(done)
