"""Commit, fence and damage of checkpoints."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.checkpoints.catalog import Catalog, Committed
from orchestrator.checkpoints.manifest import (
    Manifest,
    manifest_name,
    parts_folder,
    step_folder,
    step_of,
    writers_of,
)
from orchestrator.checkpoints.places import LocalPlace
from orchestrator.domain.errors import CheckpointError
from tests.unit.checkpoint_places import PARTS, committed_in, manifest_of, write_parts


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path / "checkpoints")


@pytest.fixture
def catalog(place: LocalPlace) -> Catalog:
    return Catalog(place)


def test_names_tell_step_attempt_and_generation() -> None:
    assert step_folder(100) == "step-00000100"
    assert (step_of("step-00000100"), step_of("step-100"), step_of("steps")) == (100, None, None)
    assert parts_folder(1, 3) == "a0001-g000003"
    assert (writers_of("a0001-g000003"), writers_of("a1")) == ((1, 3), None)
    assert manifest_name(1, 3) == "manifest-a0001-g000003.json"
    assert step_of(step_folder(123_456_789)) == 123_456_789


def test_parts_without_a_manifest_are_no_checkpoint(place: LocalPlace, catalog: Catalog) -> None:
    assert catalog.committed() == []
    manifest = manifest_of(100)
    write_parts(place, manifest)
    assert catalog.committed() == []
    assert catalog.commit(manifest) == Committed(100, 1, 1)
    assert catalog.committed() == [Committed(100, 1, 1)]
    assert catalog.committed()[0].name == "step-00000100"
    assert catalog.read(Committed(100, 1, 1)) == manifest


def test_a_folder_of_another_format_is_no_checkpoint(place: LocalPlace, catalog: Catalog) -> None:
    place.write("step-00000100/manifest.json", b"{}")
    assert catalog.committed() == []


def test_the_newest_step_comes_first_and_of_a_step_the_newest_writer_counts(
    place: LocalPlace, catalog: Catalog
) -> None:
    for step, attempt, generation in ((100, 1, 9), (100, 2, 1), (9, 1, 1), (123_456_789, 1, 2)):
        committed_in(place, step, attempt, generation)
    assert catalog.committed() == [
        Committed(123_456_789, 1, 2),
        Committed(100, 2, 1),
        Committed(9, 1, 1),
    ]


def test_a_step_that_a_newer_writer_committed_is_not_committed_again(
    place: LocalPlace, catalog: Catalog
) -> None:
    committed_in(place, 100, 2, 1)
    sentence = (
        "step 100 was committed by attempt 2, generation 1, which is newer than attempt 1, generation 7"
    )
    with pytest.raises(CheckpointError, match=f"^{sentence}$"):
        catalog.commit(manifest_of(100, 1, 7))
    assert catalog.committed() == [Committed(100, 2, 1)]
    catalog.commit(manifest_of(100, 2, 2))
    assert catalog.committed() == [Committed(100, 2, 2)]


def test_committing_again_changes_nothing_and_other_parts_are_refused(
    place: LocalPlace, catalog: Catalog
) -> None:
    committed = committed_in(place, 100)
    before = place.read(committed.manifest)
    catalog.commit(manifest_of(100, committed="2027-01-31T12:00:00.000Z"))
    assert place.read(committed.manifest) == before
    with pytest.raises(CheckpointError, match=r"manifest-a0001-g000001\.json is there with other parts"):
        catalog.commit(manifest_of(100, parts={"structure.json": b"other"}))


def test_a_manifest_of_another_checkpoint_is_refused(place: LocalPlace, catalog: Catalog) -> None:
    committed_in(place, 100)
    place.write("step-00000200/manifest-a0001-g000001.json", manifest_of(100).text().encode())
    with pytest.raises(CheckpointError, match="is the manifest of step 100, attempt 1, generation 1"):
        catalog.read(Committed(200, 1, 1))


def test_a_manifest_of_a_later_format_is_refused(place: LocalPlace, catalog: Catalog) -> None:
    committed = committed_in(place, 100)
    place.write(committed.manifest, place.read(committed.manifest).replace(b'"format": 2', b'"format": 3'))
    with pytest.raises(CheckpointError, match="has format 3 and this version reads 2"):
        catalog.read(committed)


def test_a_metric_that_is_no_number_survives() -> None:
    metrics = {"loss": float("nan"), "val_loss": float("inf"), "lr": 1e-7, "tokens": 1e16}
    text = manifest_of(100, metrics=metrics).text()
    found = Manifest.parse(text, "it")
    assert str(found.metrics) == str(metrics)
    assert found.text() == text


@pytest.mark.parametrize(
    "name", ["../a0001-g000001/x", "a0001-g000001/../../x", "/etc/passwd", "structure.json"]
)
def test_a_part_outside_its_folder_is_refused(name: str) -> None:
    part = {"name": name, "size": 1, "xxh3": "0" * 32}
    with pytest.raises(ValueError, match=r"parts\.0\.name"):
        manifest_of(100).model_validate({**manifest_of(100).model_dump(), "parts": (part,)})


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 2}', "null", "\N{SNOWMAN}"])
def test_what_is_no_manifest_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"^it (is damaged|has format)") as caught:
        Manifest.parse(text, "it")
    assert "\n" not in str(caught.value)


def test_removing_takes_the_newest_manifest_last(place: LocalPlace, catalog: Catalog) -> None:
    committed_in(place, 100, 1, 1)
    committed_in(place, 100, 1, 2)
    removed: list[str] = []

    class Watched(LocalPlace):
        def remove(self, name: str) -> None:
            removed.append(name)
            super().remove(name)

    Catalog(Watched(place.folder)).remove(100)
    assert removed == [
        "step-00000100/manifest-a0001-g000001.json",
        "step-00000100/manifest-a0001-g000002.json",
        "step-00000100",
    ]
    assert place.names("") == []


def test_a_sweep_takes_what_nobody_will_commit_and_nothing_else(place: LocalPlace, catalog: Catalog) -> None:
    kept = [committed_in(place, step, 1, 2) for step in (100, 200)]
    for step, attempt, generation in ((50, 1, 3), (200, 1, 1), (300, 1, 2), (300, 1, 3), (300, 2, 1)):
        write_parts(place, manifest_of(step, attempt, generation))
    assert catalog.sweep(1, 3, 200) == [
        "step-00000050/a0001-g000003",
        "step-00000200/a0001-g000001",
        "step-00000300/a0001-g000002",
    ]
    assert place.names("") == ["step-00000100", "step-00000200", "step-00000300"]
    assert place.names("step-00000300") == ["a0001-g000003", "a0002-g000001"]
    assert [catalog.check(one) for one in kept] == [None, None]
    assert catalog.sweep(1, 3, 200) == []


FILES = [f"a0001-g000001/{name}" for name in PARTS] + [manifest_name(1, 1)]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FILES),
    st.sampled_from(["flip", "cut", "grow", "remove", "swap"]),
    st.integers(0, 10**6),
    st.integers(1, 255),
)
def test_any_damage_to_any_file_is_named_in_one_sentence_and_never_passed(
    name: str, kind: str, where: int, mask: int
) -> None:
    with TemporaryDirectory() as folder:
        place = LocalPlace(Path(folder))
        committed = committed_in(place, 100, metrics={"val_loss": 1.5, "loss": float("nan")})
        assert Catalog(place).check(committed) is None
        path = place.folder / committed.name / name
        content = bytearray(path.read_bytes())
        position = where % len(content)
        match kind:
            case "flip":
                content[position] ^= mask
            case "cut":
                del content[position:]
            case "grow":
                content.insert(position, mask)
            case "swap":
                content[0], content[position] = content[position], content[0]
        if content == path.read_bytes() and kind != "remove":
            return
        path.unlink() if kind == "remove" else path.write_bytes(content)
        sentence = Catalog(place).check(committed)
        assert sentence is not None
        assert re.fullmatch(rf"{re.escape(str(path))} (is|has|is damaged:) [^\n]+", sentence)
