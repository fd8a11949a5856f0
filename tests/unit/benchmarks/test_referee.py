from collections.abc import Callable
from itertools import count

import pytest

from benchmarks.referee import STOCK, TUMBLER, Block, Referee, Stopwatch, cpu_ratios, throughput_ratios, turns


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Arena:
    """Two contenders without work: a step of Tumbler's takes 1 s, one of stock's 2 s."""

    def __init__(self, order: list[str], steps_per_block: int, num_warmup: int) -> None:
        self.clock = Clock()
        self.num_stock = 0
        self.referee = Referee(
            order,
            steps_per_block,
            num_warmup,
            train_other=self._train_stock,
            barrier=lambda: None,
            stopwatch=Stopwatch(self.clock),
            clock=self.clock,
            cpu_clock=lambda: self.clock.now / 2,
        )

    def play(self) -> int:
        """How many updates Tumbler did until the referee had enough."""
        for done in count(1):
            self.clock.now += 1
            if not self.referee.after_update():
                return done
        raise AssertionError

    def _train_stock(self, num_steps: int) -> None:
        self.num_stock += num_steps
        self.clock.now += 2 * num_steps


def test_the_order_is_abba() -> None:
    assert turns(6) == [STOCK, TUMBLER, TUMBLER, STOCK, STOCK, TUMBLER]


def test_every_block_holds_as_many_steps_as_was_asked_for() -> None:
    arena = Arena(turns(4), steps_per_block=3, num_warmup=5)
    # The update before the first pause, which begins the script, belongs to the warm-up.
    assert arena.play() == 1 + 5 + 2 * 3
    assert arena.num_stock == 5 + 2 * 3
    assert [(block.contender, block.wall_s) for block in arena.referee.blocks] == [
        (STOCK, 6.0),
        (TUMBLER, 3.0),
        (TUMBLER, 3.0),
        (STOCK, 6.0),
    ]


def test_a_block_knows_its_processor_time() -> None:
    arena = Arena([TUMBLER, STOCK], steps_per_block=4, num_warmup=0)
    arena.play()
    assert [block.cpu_s for block in arena.referee.blocks] == [2.0, 4.0]


def test_a_block_counts_only_the_parts_that_were_worked_on_in_it() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)

    def spend(part: str, seconds: float) -> None:
        stopwatch.start()
        clock.now += seconds
        stopwatch.stop(part)

    referee = Referee(
        [TUMBLER, STOCK],
        1,
        0,
        train_other=lambda num_steps: spend("update", 5.0),
        barrier=lambda: None,
        stopwatch=stopwatch,
        clock=clock,
    )
    referee.after_update()
    spend("compute", 2.0)
    spend("compute", 1.0)
    referee.after_update()
    assert [block.parts_s for block in referee.blocks] == [{"compute": 3.0}, {"update": 5.0}]


def test_a_method_is_timed_until_the_context_is_left() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)

    class Worker:
        def work(self, seconds: float) -> str:
            clock.now += seconds
            return "done"

    with stopwatch.inside(Worker, "work", "compute"):
        assert Worker().work(2.0) == "done"
    Worker().work(7.0)
    assert stopwatch.total() == {"compute": 2.0}


@pytest.mark.parametrize(("ratios", "expected"), [(throughput_ratios, [0.5, 2.0]), (cpu_ratios, [1.0, 4.0])])
def test_ratios_are_taken_within_pairs_of_neighbours(
    ratios: Callable[[list[Block]], list[float]], expected: list[float]
) -> None:
    blocks = [
        Block(STOCK, 1.0, 2.0, {}),
        Block(TUMBLER, 2.0, 2.0, {}),
        Block(TUMBLER, 3.0, 1.0, {}),
        Block(STOCK, 6.0, 4.0, {}),
    ]
    assert ratios(blocks) == expected
