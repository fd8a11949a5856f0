"""The same bits at 1, 2, 3 and 4 members, each a process of its own, whatever a step consists of."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations, count
from pathlib import Path
from typing import Any

import pytest

from tests.unit.steps import member, the_same

pytestmark = pytest.mark.slow

CLIPPED = {"clip_grad_norm": 0.5}
IN_PIECES = {"micro_batch": 2}
HALF = {"precision": "bf16"}
SCHEDULED = {"schedule": {"name": "cosine", "warmup_steps": 2}}
ALL_AT_ONCE = {**CLIPPED, **IN_PIECES, **HALF, **SCHEDULED}
Trained = Callable[[int, Mapping[str, Any]], tuple[str, str, list[float]]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """(size, fields of `train`) -> what all members found. Each process has its own random numbers."""
    # Forked from one that has torch loaded and has computed nothing.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.steps"])
    folder, numbers = tmp_path_factory.mktemp("stores"), count()

    def work(size: int, train: Mapping[str, Any]) -> tuple[str, str, list[float]]:
        store = str(Path(folder, str(next(numbers))))
        lives = [pool.submit(member, rank, size, store, train) for rank in range(size)]
        found: tuple[str, str, list[float]] = the_same([life.result(120) for life in lives])
        return found

    with ProcessPoolExecutor(4, mp_context=context) as pool:
        yield work


@pytest.mark.parametrize("train", [{}, CLIPPED, IN_PIECES, HALF, ALL_AT_ONCE], ids=str)
def test_a_step_has_the_same_bits_at_any_number_of_members(
    trained: Trained, train: Mapping[str, Any]
) -> None:
    found = [trained(size, train) for size in (1, 2, 3, 4)]
    assert len({one[:2] for one in found}) == 1, found
    assert all(one[2] == found[0][2] for one in found)


def test_each_of_these_changes_the_bits(trained: Trained) -> None:
    """Else it would not have been tried."""
    found = [trained(1, train)[0] for train in ({}, CLIPPED, IN_PIECES, HALF, SCHEDULED)]
    assert not [pair for pair in combinations(found, 2) if pair[0] == pair[1]]


def test_fast_steps_learn_the_same_from_the_same_rows_and_members_stay_equal(trained: Trained) -> None:
    still = {"seed": 3, "optimizer": {"lr": 1e-3}}
    _, _, bitwise = trained(1, still)
    for size in (2, 3, 4):
        _, _, losses = trained(size, {**still, "consistency": "fast"})  # all members found the same
        assert losses == pytest.approx(bitwise, rel=0.2), "dropout differs, rows do not"
