"""Faults that were found by reading, each kept from coming back."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from orchestrator.domain.checkpoints import MANIFEST, checkpoint_name, find_checkpoints
from orchestrator.domain.errors import CheckpointError
from tests.unit.test_checkpoint import SPEC, after, bits, folder, no_file_larger_than, two, write
from trainers.elastic import checkpoint as module
from trainers.elastic.checkpoint import read_checkpoint, restore_newest
from trainers.elastic.state import TrainState


def test_a_disk_that_fills_up_while_the_optimizer_is_written_is_a_checkpoint_error(tmp_path: Path) -> None:
    """torch.save raises RuntimeError, not OSError."""
    size = (write(tmp_path / "good", after(2)).path / "model.safetensors").stat().st_size
    with pytest.raises(CheckpointError), no_file_larger_than(size + 16):
        write(tmp_path / "full", after(2))
    assert list((tmp_path / "full").iterdir()) == []


def test_metrics_that_are_numpy_floats_can_be_restored(tmp_path: Path) -> None:
    """A task's `summarise` may well return np.exp(loss)."""
    state, other = after(1), after(0)
    state.metrics = {"perplexity": np.exp(np.float64(1.0))}
    other.restore(read_checkpoint(write(tmp_path, state).path))
    assert bits(other) == bits(state)


def test_metrics_that_json_does_not_know_leave_nothing_behind(tmp_path: Path) -> None:
    state = after(1)
    state.metrics = {"perplexity": np.float32(1.0)}
    with pytest.raises(CheckpointError):
        write(tmp_path, state)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_anywhere_in_the_manifest_never_does_more_than_pass_it_over(
    two: Path,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    folder = Path(shutil.copytree(two, tmp_path_factory.mktemp("flipped") / "checkpoints"))
    file = folder / checkpoint_name(2) / MANIFEST
    content = bytearray(file.read_bytes())
    offset = data.draw(st.integers(0, len(content) - 1))
    content[offset] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    state = after(0)
    restored, passed_over = restore_newest(state, find_checkpoints(folder), fingerprint=SPEC)
    good = bits(after(2)) if not passed_over else bits(after(1))
    assert restored is not None
    assert bits(state) == good


@pytest.mark.parametrize("text", ["[]", "null", "1", '{"format": 1}'])
def test_a_manifest_that_is_other_json_is_passed_over(folder: Path, text: str) -> None:
    (folder / checkpoint_name(2) / MANIFEST).write_text(text)
    restored, _passed_over = restore_newest(after(0), find_checkpoints(folder), fingerprint=SPEC)
    assert restored == folder / checkpoint_name(1)


def test_a_file_that_the_disk_cannot_read_is_passed_over(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = module._describe

    def fails(path: Path) -> Any:
        if path.parent.name == checkpoint_name(2):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(module, "_describe", fails)
    restored, _ = restore_newest(after(0), find_checkpoints(folder), fingerprint=SPEC)
    assert restored == folder / checkpoint_name(1)


class Views(nn.Module):
    """A buffer that is a view of another tensor's beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))
        self.register_buffer("first_row", self.weight.detach()[0])


def test_a_view_of_another_shape_comes_back_with_its_own_shape(tmp_path: Path) -> None:
    model, other = Views(), Views()
    state = TrainState(model, SGD(model.parameters(), lr=0.1), None, step=1)
    TrainState(other, SGD(other.parameters(), lr=0.1), None).restore(
        read_checkpoint(write(tmp_path, state).path)
    )


def test_a_checksum_is_found_of_a_buffer_at_an_odd_offset() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("mask", (torch.ones(8) > 0)[1:])
    assert TrainState(model, SGD(model.parameters(), lr=0.1), None).checksum() >= 0
