"""Whatever happens to a file of a checkpoint: it is named, and the one before is restored."""

import random
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.places import place_of
from tests.unit.damaging import DAMAGES, files_of
from tests.unit.saving import SPEC, after, bits, save
from trainers.checkpoints.reading import restore_newest

NEWEST, BEFORE = Committed(3, 1, 1), Committed(2, 1, 1)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good checkpoints of steps 1 to 3, in three parts each; tests damage a copy."""
    folder = tmp_path_factory.mktemp("three")
    for steps in (1, 2, 3):
        save(folder, after(steps), world_size=3)
    return folder


@pytest.fixture(scope="module")
def bits_before() -> tuple[Any, ...]:
    return bits(after(BEFORE.step))


def must_be_found(folder: Path, damaged: list[Path], before: tuple[Any, ...]) -> None:
    """It is not restored, the sentence names it, and the one before has its bits."""
    catalog = Catalog(place_of(folder))
    state = after(0, seed=7)
    found, passed_over = restore_newest(state, catalog, catalog.committed(), fingerprint=SPEC)
    assert found == BEFORE
    assert bits(state) == before
    ((where, reason),) = passed_over
    assert where == str(folder / NEWEST.name)
    for sentence in (reason, catalog.check(NEWEST)):
        assert sentence is not None
        assert any(str(path) in sentence for path in damaged), sentence
        assert "\n" not in sentence
    assert catalog.check(BEFORE) is None


@pytest.mark.parametrize("kind", DAMAGES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_damage_is_named_and_the_checkpoint_before_is_restored(
    three: Path, bits_before: tuple[Any, ...], kind: str, seed: int
) -> None:
    with TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(three, Path(scratch) / "checkpoints"))
        damaged = DAMAGES[kind](folder, NEWEST, random.Random(seed))
        must_be_found(folder, damaged, bits_before)


def test_what_is_damaged_is_restored_once_it_is_whole_again(
    three: Path, bits_before: tuple[Any, ...], tmp_path: Path
) -> None:
    """The check is about the files alone: nothing remembers that they were damaged."""
    folder = Path(shutil.copytree(three, tmp_path / "checkpoints"))
    for path in files_of(folder, NEWEST):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        must_be_found(folder, [path], bits_before)
        path.write_bytes(content)
    state, catalog = after(0, seed=7), Catalog(place_of(folder))
    found, passed_over = restore_newest(state, catalog, catalog.committed(), fingerprint=SPEC)
    assert (found, passed_over) == (NEWEST, [])
    assert bits(state) == bits(after(3))
