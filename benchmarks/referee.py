"""Who may step when two contenders take turns, and what each of their blocks of steps took."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

TUMBLER, STOCK, FAST = "tumbler", "stock", "fast"


@dataclass(frozen=True)
class Block:
    contender: str
    wall_s: float
    cpu_s: float
    """Of all threads of rank 0; unlike `wall_s` it hardly depends on what else the machine does."""
    parts_s: dict[str, float]
    """Time of rank 0 in `compute` and `exchange` (Tumbler) and in `update`, the optimizer (both)."""


def turns(num_blocks: int, other: str = STOCK) -> list[str]:
    """Who steps in each block: ABBA, which cancels a machine that grows slower or faster at a steady rate."""
    return [(other, TUMBLER, TUMBLER, other)[place % 4] for place in range(num_blocks)]


def throughput_ratios(blocks: Sequence[Block]) -> list[float]:
    """Tumbler's throughput relative to the other's in each pair of neighbours among blocks of equal steps."""
    return _ratios(blocks, lambda block: block.wall_s)


def cpu_ratios(blocks: Sequence[Block]) -> list[float]:
    """As `throughput_ratios`, but of steps per second of processor time."""
    return _ratios(blocks, lambda block: block.cpu_s)


def _ratios(blocks: Sequence[Block], cost: Callable[[Block], float]) -> list[float]:
    pairs = zip(blocks[::2], blocks[1::2], strict=True)
    split = [sorted(pair, key=lambda block: block.contender != TUMBLER) for pair in pairs]
    return [cost(other) / cost(tumbler) for tumbler, other in split]


class Stopwatch:
    """Adds up the time spent in parts of a step."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._total_s: dict[str, float] = {}
        self._since = 0.0

    def total(self) -> dict[str, float]:
        return self._total_s.copy()

    def start(self, *_: Any) -> None:
        self._since = self._clock()

    def stop(self, part: str) -> None:
        self._total_s[part] = self._total_s.get(part, 0.0) + self._clock() - self._since

    @contextmanager
    def inside(self, owner: type, method: str, part: str) -> Iterator[None]:
        """Count the calls of a method, which must not call another one that is counted."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def timed(*arguments: Any, **options: Any) -> Any:
            self.start()
            try:
                return original(*arguments, **options)
            finally:
                self.stop(part)

        setattr(owner, method, timed)
        try:
            yield
        finally:
            setattr(owner, method, original)


class Referee:
    """Lets one contender step at a time and takes the time of every block."""

    def __init__(
        self,
        order: Sequence[str],
        steps_per_block: int,
        num_warmup: int,
        *,
        train_other: Callable[[int], None],
        barrier: Callable[[], None],
        stopwatch: Stopwatch,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self.blocks: list[Block] = []
        self._order = order
        self._steps_per_block = steps_per_block
        self._num_warmup = num_warmup
        self._train_other = train_other
        self._barrier = barrier
        self._stopwatch = stopwatch
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._script = self._play()

    def after_update(self) -> bool:
        """To be called after every update of Tumbler's; returns when its next one may begin, False when all
        blocks are done."""
        return next(self._script, False)

    def _play(self) -> Iterator[bool]:
        yield from self._tumbler_steps(self._num_warmup)
        self._train_other(self._num_warmup)
        for contender in self._order:
            with self._timed(contender):
                if contender == TUMBLER:
                    yield from self._tumbler_steps(self._steps_per_block)
                else:
                    self._train_other(self._steps_per_block)

    def _tumbler_steps(self, num_steps: int) -> Iterator[bool]:
        for _ in range(num_steps):
            yield True

    @contextmanager
    def _timed(self, contender: str) -> Iterator[None]:
        self._barrier()
        before, begun, cpu_begun = self._stopwatch.total(), self._clock(), self._cpu_clock()
        yield
        self._barrier()
        wall_s, cpu_s = self._clock() - begun, self._cpu_clock() - cpu_begun
        parts_s = {part: s - before.get(part, 0.0) for part, s in self._stopwatch.total().items()}
        self.blocks.append(Block(contender, wall_s, cpu_s, {part: s for part, s in parts_s.items() if s > 0}))
