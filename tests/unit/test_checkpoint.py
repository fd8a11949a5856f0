"""States that are saved by some members and restored by others."""

import json
import resource
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.manifest import Manifest, PartFile
from orchestrator.checkpoints.places import LocalPlace, Place, place_of
from orchestrator.domain.errors import CheckpointError
from orchestrator.domain.spec import RunSpec
from tests.unit import saving
from tests.unit.saving import OTHER_SPEC, SHARDS, SPEC, Tied, after, bits, save, save_parts, train
from trainers.checkpoints import reading
from trainers.checkpoints import saver as saver_module
from trainers.checkpoints.copying import Origin
from trainers.checkpoints.reading import read_model, read_state, restore_newest
from trainers.checkpoints.saver import Saved, Saver
from trainers.checkpoints.writer import Writer
from trainers.checkpoints.writer_process import write_file
from trainers.elastic.messages import CheckpointFailed, PartsWritten
from trainers.elastic.state import TrainState


def restored(folder: Path, fingerprint: str = SPEC) -> tuple[TrainState, Committed | None, list[str]]:
    """A fresh state after it was restored, what it came from, and why others were passed over."""
    state, catalog = after(0, seed=7), Catalog(place_of(folder))
    found, passed_over = restore_newest(state, catalog, catalog.committed(), fingerprint=fingerprint)
    return state, found, [reason for _, reason in passed_over]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good checkpoints of steps 1 and 2; tests damage a copy of it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for steps in (1, 2):
        save(folder, after(steps), world_size=2)
    return folder


@pytest.fixture
def folder(two: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two, tmp_path / "checkpoints"))


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_what_any_number_of_members_saved_is_restored_bit_by_bit(tmp_path: Path, world_size: int) -> None:
    state = after(3)
    committed = save(tmp_path, state, world_size=world_size)
    other, found, passed_over = restored(tmp_path)
    assert (found, passed_over) == (committed, [])
    assert bits(other) == bits(state)
    assert isinstance(other.model, Tied)
    assert other.model.decode.weight is other.model.encode.weight


def test_a_restored_state_goes_the_same_way_on(tmp_path: Path) -> None:
    state = after(3)
    save(tmp_path, state, world_size=3)
    other, _, _ = restored(tmp_path)
    for one in (state, other):
        torch.manual_seed(5)
        train(one)
    assert bits(other) == bits(state)


def test_a_part_is_a_safetensors_file_and_a_tied_weight_lies_in_it_once(tmp_path: Path) -> None:
    state = after(1)
    save(tmp_path, state)
    (part,) = tmp_path.glob("step-*/a*/part-*.safetensors")
    found = safetensors.torch.load_file(part)
    assert torch.equal(found["model/encode.weight"], state.model.state_dict()["encode.weight"])
    assert "model/decode.weight" not in found
    assert part.name == f"part-000-{SHARDS:03d}.safetensors"


def test_the_model_of_another_seed_is_not_what_is_restored(tmp_path: Path) -> None:
    save(tmp_path, after(3, seed=1))
    assert bits(restored(tmp_path)[0]) != bits(after(3))


def test_a_step_that_follows_at_once_does_not_change_what_is_saved(tmp_path: Path) -> None:
    """The copy is made beside the next step; whoever changes the state waits for it."""
    state, reports = after(1), list[Saved]()
    before = bits(state)
    saver = Saver(state, str(tmp_path), SHARDS, reports.append, Writer())
    futures = []
    for generation in range(1, 4):
        futures.append(saver.begin(Origin("w1", 1, generation, 0, 1)))
        train(state)
    assert [type(future.result(30)) for future in futures] == [PartsWritten] * 3
    saver.close()
    assert [report.step for report in reports] == [1, 2, 3]
    place = LocalPlace(tmp_path)
    first = reports[0]
    assert isinstance(first, PartsWritten)
    snapshot = read_state(place, _manifest_of(first))
    other = after(0)
    other.restore(snapshot)
    assert bits(other) == before


def _manifest_of(parts: PartsWritten) -> Manifest:
    return Manifest(
        step=parts.step,
        attempt=parts.attempt,
        generation=parts.generation,
        fingerprint=SPEC,
        committed="2030-01-01T00:00:00.000Z",
        parts=tuple(PartFile(name=name, size=size, xxh3=xxh3) for name, size, xxh3 in parts.files),
    )


def test_a_writer_that_was_killed_is_told_and_the_next_save_has_another_one(tmp_path: Path) -> None:
    state, reports, writer = after(1), list[Saved](), Writer()
    saver = Saver(state, str(tmp_path), SHARDS, reports.append, writer)
    assert saver.finish(Origin("w1", 1, 1, 0, 1)) is not None
    assert writer._process is not None
    writer._process.kill()
    writer._process.wait()
    outcomes = [saver.finish(Origin("w1", 1, generation, 0, 1)) for generation in (2, 3)]
    saver.close()
    assert outcomes[-1] is not None
    assert all(isinstance(report, PartsWritten | CheckpointFailed) for report in reports)


def test_a_checkpoint_of_another_spec_is_passed_over(folder: Path) -> None:
    save(folder, after(2), world_size=2, generation=2, fingerprint=OTHER_SPEC)
    _, found, (reason,) = restored(folder)
    assert found is not None
    assert found.step == 1
    assert reason.endswith("belongs to another spec")


def test_what_differs_from_the_spec_of_a_checkpoint_is_said() -> None:
    old, new = (
        RunSpec.parse({"task": "language_model", "train": {"steps": 4, "seed": seed}}) for seed in (1, 2)
    )
    manifest = Manifest(
        step=4,
        attempt=1,
        generation=1,
        fingerprint=old.result_fingerprint(),
        spec=old.result_content(),
        committed="2030-01-01T00:00:00.000Z",
        parts=(),
    )
    manifest = Manifest.parse(manifest.text(), "it")
    manifest.check_spec(old.result_fingerprint(), old.result_content(), "it")
    with pytest.raises(CheckpointError, match=r"^it belongs to another spec: train.seed was 1 and is 2$"):
        manifest.check_spec(new.result_fingerprint(), new.result_content(), "it")


def test_parts_that_nobody_committed_are_no_checkpoint(folder: Path) -> None:
    save_parts(folder, after(3), world_size=2)
    _, found, passed_over = restored(folder)
    assert found == Committed(2, 1, 1)
    assert passed_over == []


def test_without_any_good_one_the_state_stays_as_it_was(tmp_path: Path) -> None:
    state, found, passed_over = restored(tmp_path)
    assert (found, passed_over) == (None, [])
    assert bits(state) == bits(after(0, seed=7))


def test_a_damaged_one_is_named_and_passed_over_until_its_step_is_saved_again(folder: Path) -> None:
    damaged = next(folder.glob("step-00000002/a*/part-004-008.safetensors"))
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    state, found, (reason,) = restored(folder)
    assert found == Committed(1, 1, 1)
    assert bits(state) == bits(after(1))
    assert str(damaged) in reason
    save(folder, after(2), world_size=3, attempt=2)
    state, found, passed_over = restored(folder)
    assert (found, passed_over) == (Committed(2, 2, 1), [])
    assert bits(state) == bits(after(2))


def test_a_part_that_is_not_of_the_manifest_does_not_make_a_whole_state(folder: Path) -> None:
    manifest = Catalog(place_of(folder)).read(Committed(2, 1, 1))
    fewer = manifest.model_copy(update={"parts": manifest.parts[1:]})
    with pytest.raises(CheckpointError, match=r"step-00000002"):
        read_state(place_of(folder), fewer)


def test_the_model_is_read_without_memory_for_the_optimizer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, expected = Catalog(place_of(folder)), after(2).model.state_dict()
    memory: set[str] = set()
    octets = reading._octets

    def noted(tensors: Mapping[str, torch.Tensor], name: str) -> Any:
        memory.update(tensors)
        return octets(tensors, name)

    monkeypatch.setattr(reading, "_octets", noted)
    found = read_model(catalog.place, catalog.read(Committed(2, 1, 1)))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert found["decode.weight"] is found["encode.weight"]
    assert memory == {f"model/{name}" for name in expected if name != "decode.weight"}


@pytest.mark.parametrize("changed", ["model", "optimizer"])
def test_the_model_is_not_read_from_a_checkpoint_that_is_damaged_anywhere(folder: Path, changed: str) -> None:
    catalog = Catalog(place_of(folder))
    path, octet = _place_of_a_number(folder, changed)
    content = bytearray(path.read_bytes())
    content[octet] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged: it does not match its checksum"):
        read_model(catalog.place, catalog.read(Committed(2, 1, 1)))


def _place_of_a_number(folder: Path, section: str) -> tuple[Path, int]:
    """A part of step 2 that holds a tensor of that section, and where a number of it lies."""
    for path in sorted((folder / "step-00000002").glob("*/part-*.safetensors")):
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8 : 8 + length]).items():
            if name.startswith(f"{section}/"):
                return path, 8 + length + int(entry["data_offsets"][0])
    raise AssertionError(f"no part holds a tensor of the {section}")


@contextmanager
def no_file_larger_than(num_bytes: int) -> Iterator[None]:
    """The kernel refuses to write beyond, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_reported_and_nothing_half_done_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_a_full_disk(place: Place, file: dict[str, Any], memory: Any) -> dict[str, Any]:
        with no_file_larger_than(1000):
            return write_file(place, file, memory)

    monkeypatch.setattr(saving, "write_file", on_a_full_disk)
    (report,) = save_parts(folder, after(3))
    assert isinstance(report, CheckpointFailed)
    assert report.reason.startswith("the checkpoint of step 3 was not written: ")
    assert list(folder.glob("step-00000003/a*/*")) == []
    assert restored(folder)[1] == Committed(2, 1, 1)


def test_the_last_checkpoint_is_tried_again_when_storage_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [OSError(28, "No space left on device")] * 2

    def full_at_first(place: Place, file: dict[str, Any], memory: Any) -> dict[str, Any]:
        if refused:
            raise refused.pop()
        return write_file(place, file, memory)

    monkeypatch.setattr(saving, "write_file", full_at_first)
    monkeypatch.setattr(saver_module, "_TRY_AGAIN_AFTER_S", (0.0, 0.0))
    reports: list[Saved] = []
    saver = Saver(after(1), str(tmp_path), SHARDS, reports.append, saving.WriterHere())
    assert saver.finish(Origin("w1", 1, 1, 0, 1)) is reports[-1]
    saver.close()
    assert [type(report) for report in reports] == [CheckpointFailed, CheckpointFailed, PartsWritten]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    (report,) = save_parts(tmp_path / "taken", after(1))
    assert isinstance(report, CheckpointFailed)
    assert "taken" in report.reason


def test_a_manifest_of_another_format_is_passed_over(folder: Path) -> None:
    manifest = next(folder.glob("step-00000002/manifest-*.json"))
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 3}))
    assert "has format 3 and this version reads 2" in restored(folder)[2][0]
