import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from orchestrator.domain.checkpoints import MANIFEST, checkpoint_name, find_checkpoints
from orchestrator.domain.errors import CheckpointError
from trainers.elastic import checkpoint as module
from trainers.elastic.checkpoint import (
    Written,
    read_checkpoint,
    read_manifest,
    restore_newest,
    write_checkpoint,
)
from trainers.elastic.state import TrainState

torch.set_num_threads(1)

SPEC, OTHER_SPEC = "a" * 64, "b" * 64
MODEL, OPTIMIZER = "model.safetensors", "optimizer.pt"
FILES = (MODEL, OPTIMIZER, MANIFEST)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(8, 8)
        self.decode = nn.Linear(8, 8)
        self.decode.weight = self.encode.weight
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("nothing", torch.empty(0))


def after(steps: int, seed: int = 0) -> TrainState:
    torch.manual_seed(seed)
    model = Tied()
    optimizer = AdamW(model.parameters(), lr=0.01)
    state = TrainState(model, optimizer, LambdaLR(optimizer, lambda step: 1 / (1 + step)))
    for _ in range(steps):
        x = torch.randn(4, 8)
        optimizer.zero_grad()
        model.decode(torch.tanh(model.encode(x))).square().sum().backward()
        optimizer.step()
        assert state.schedule is not None
        state.schedule.step()
        state.step += 1
    if steps:
        state.metrics, state.evaluated_step = {"val_loss": 1 / steps}, steps
    return state


def write(folder: Path, state: TrainState, fingerprint: str = SPEC, generation: int = 1) -> Written:
    return write_checkpoint(folder, state, fingerprint=fingerprint, attempt=1, generation=generation)


def bits(state: TrainState) -> tuple[Any, ...]:
    rates = [group["lr"] for group in state.optimizer.param_groups]
    hashes = (state.parameters_sha256(), state.optimizer_sha256())
    return state.step, state.evaluated_step, state.metrics, rates, state.checksum(), *hashes


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good checkpoints of steps 1 and 2; tests damage a copy of it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for steps in (1, 2):
        write(folder, after(steps))
    return folder


@pytest.fixture
def folder(two: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two, tmp_path / "checkpoints"))


def assert_passed_over(folder: Path, *words: str) -> None:
    """The checkpoint of step 2 is refused with a reason that says `words`, and step 1 is restored."""
    newest, before = find_checkpoints(folder)[0], folder / checkpoint_name(1)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(newest, fingerprint=SPEC)
    assert all(word in str(caught.value) for word in (newest.name, *words))
    state = after(0)
    restored, passed_over = restore_newest(state, find_checkpoints(folder), fingerprint=SPEC)
    assert restored == before
    assert passed_over == [(str(newest), str(caught.value))]
    assert bits(state) == bits(after(1))


def test_what_is_read_has_every_bit_that_was_written(tmp_path: Path) -> None:
    state, other = after(3), after(0, seed=7)
    written = write(tmp_path, state)
    assert written == Written(tmp_path / "step-00000003", state.parameters_sha256(), state.optimizer_sha256())
    other.restore(read_checkpoint(written.path, fingerprint=SPEC))
    assert bits(other) == bits(state)
    assert other.model.decode.weight is other.model.encode.weight


def test_a_weight_with_two_names_is_stored_once(tmp_path: Path) -> None:
    written = write(tmp_path, after(1))
    assert read_manifest(written.path)["ties"] == {"decode.weight": "encode.weight"}
    assert set(read_checkpoint(written.path)["model"]) == set(Tied().state_dict())


def test_the_manifest_says_what_is_in_the_folder(tmp_path: Path) -> None:
    written = write(tmp_path, after(2), generation=5)
    manifest = read_manifest(written.path)
    assert {name: manifest[name] for name in ("step", "attempt", "generation", "fingerprint", "metrics")} == {
        "step": 2,
        "attempt": 1,
        "generation": 5,
        "fingerprint": SPEC,
        "metrics": {"val_loss": 0.5},
    }
    assert (manifest["parameters_sha256"], manifest["optimizer_sha256"]) == (
        written.parameters_sha256,
        written.optimizer_sha256,
    )
    sizes = {name: facts["bytes"] for name, facts in manifest["files"].items()}
    assert sizes == {name: (written.path / name).stat().st_size for name in (MODEL, OPTIMIZER)}


def test_the_newest_good_one_is_restored_and_nothing_is_passed_over(folder: Path) -> None:
    state = after(0)
    restored = restore_newest(state, find_checkpoints(folder), fingerprint=SPEC)
    assert restored == (folder / "step-00000002", [])
    assert bits(state) == bits(after(2))


def test_without_any_good_one_the_state_stays_as_it_was() -> None:
    state = after(0)
    assert restore_newest(state, [], fingerprint=SPEC) == (None, [])
    assert bits(state) == bits(after(0))


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_anywhere_in_a_data_file_is_noticed(
    two: Path, tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    folder = Path(shutil.copytree(two, tmp_path_factory.mktemp("flipped") / "checkpoints"))
    file = folder / checkpoint_name(2) / name
    content = bytearray(file.read_bytes())
    offset = data.draw(st.integers(0, len(content) - 1))
    content[offset] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    assert_passed_over(folder, "is damaged", name)


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER])
@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_truncated_file_is_noticed(folder: Path, name: str, size: int) -> None:
    file = folder / checkpoint_name(2) / name
    file.write_bytes(file.read_bytes()[:size])
    assert_passed_over(folder, "is damaged", name)


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / checkpoint_name(2) / name).unlink()
    assert_passed_over(folder, f"lacks {name}")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_manifest_cut_short_is_noticed(folder: Path, share: float) -> None:
    file = folder / checkpoint_name(2) / MANIFEST
    text = file.read_text()
    file.write_text(text[: int(len(text) * share)])
    assert_passed_over(folder, f"has no readable {MANIFEST}")


def test_a_checkpoint_of_another_spec_is_passed_over(folder: Path) -> None:
    write(folder, after(2), fingerprint=OTHER_SPEC)
    assert_passed_over(folder, "belongs to another spec")


def test_a_checkpoint_of_a_later_format_is_passed_over(folder: Path) -> None:
    file = folder / checkpoint_name(2) / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    assert_passed_over(folder, "has format 2, this version reads 1")


def test_a_folder_without_a_manifest_and_one_still_being_written_are_no_checkpoints(folder: Path) -> None:
    newest = folder / checkpoint_name(2)
    shutil.copytree(newest, folder / f".{checkpoint_name(3)}.1-1")
    (newest / MANIFEST).unlink()
    assert find_checkpoints(folder) == [folder / checkpoint_name(1)]


def test_the_newest_comes_first(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        (tmp_path / checkpoint_name(step)).mkdir()
        (tmp_path / checkpoint_name(step) / MANIFEST).touch()
    assert [path.name for path in find_checkpoints(tmp_path)] == [
        "step-00000100",
        "step-00000020",
        "step-00000009",
    ]


def test_a_half_written_folder_of_the_same_step_is_replaced(folder: Path) -> None:
    for name in FILES[1:]:
        (folder / checkpoint_name(2) / name).unlink()
    (folder / f".{checkpoint_name(2)}.1-1").mkdir()
    write(folder, after(2))
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000001", "step-00000002"]
    state = after(0)
    state.restore(read_checkpoint(folder / checkpoint_name(2)))
    assert bits(state) == bits(after(2))


@contextmanager
def no_file_larger_than(num_bytes: int) -> Iterator[None]:
    """The kernel refuses to write beyond, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_checkpoint_error_and_nothing_half_done_stays_behind(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match=r"could not write checkpoint .*step-00000002"),
        no_file_larger_than(100),
    ):
        write(tmp_path, after(2))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_error_while_syncing_keeps_what_was_committed_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module.os, "fsync", fails)
    with pytest.raises(CheckpointError, match="Input/output error"):
        write(folder, after(3))
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000001", "step-00000002"]


def test_a_folder_that_cannot_be_made_is_a_checkpoint_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match="could not write checkpoint"):
        write(tmp_path / "taken", after(1))
    assert os.listdir(tmp_path) == ["taken"]
