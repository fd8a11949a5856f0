"""What every place promises, checked on a folder and on an object store."""

import pickle
from pathlib import Path

import pytest

from orchestrator.checkpoints.catalog import Catalog
from orchestrator.checkpoints.places import LocalPlace, Place, RemotePlace, check_writable, place_of
from orchestrator.domain.errors import StorageError
from orchestrator.domain.spec_parts import joined
from tests.unit.checkpoint_places import committed_in, location, manifest_of, s3, write_parts

__all__ = ["location", "s3"]


@pytest.fixture
def place(location: str) -> Place:
    return place_of(location)


def test_what_was_written_is_read_and_listed_in_order(place: Place) -> None:
    place.write("step/b/deep.bin", b"deep")
    place.write("step/a.json", b"text")
    assert place.names("") == ["step"]
    assert place.names("step") == ["a.json", "b"]
    assert place.read("step/a.json") == b"text"
    assert place.size("step/b/deep.bin") == 4
    with place.open_read("step/b/deep.bin") as content:
        assert content[1:3] == b"ee"


def test_a_file_is_replaced_as_a_whole(place: Place) -> None:
    place.write("a", b"something long")
    place.write("a", b"short")
    assert place.read("a") == b"short"
    assert place.names("") == ["a"]


def test_a_file_with_nothing_in_it_is_a_file(place: Place) -> None:
    place.write("a", b"")
    assert place.size("a") == 0
    with place.open_read("a") as content:
        assert content.nbytes == 0


def test_what_is_absent_has_no_names_and_no_size_and_cannot_be_read(place: Place) -> None:
    place.write("there", b"")
    assert place.names("nowhere") == []
    assert place.size("nowhere") is None
    with pytest.raises(FileNotFoundError):
        place.read("nowhere")
    with pytest.raises(FileNotFoundError), place.open_read("no/where"):
        pass


def test_a_folder_has_no_size(place: Place) -> None:
    place.write("folder/a", b"1")
    assert place.size("folder") is None


def test_a_stream_shows_nothing_until_it_is_closed(place: Place) -> None:
    with place.open_write("step/part") as sink:
        sink.write(memoryview(b"one "))
        sink.write(memoryview(b"two"))
        assert place.names("step") == []
    assert place.read("step/part") == b"one two"
    assert place.names("step") == ["part"]


def test_a_stream_that_breaks_leaves_nothing(place: Place) -> None:
    def break_off() -> None:
        with place.open_write("step/part") as sink:
            sink.write(b"half")
            raise ValueError("the writer dies")

    with pytest.raises(ValueError, match="the writer dies"):
        break_off()
    assert place.size("step/part") is None
    assert place.names("step") == []


def test_a_file_or_a_folder_is_removed_and_an_absent_one_is_fine(place: Place) -> None:
    for name in ("step/a/1", "step/a/2", "step/b"):
        place.write(name, b"content")
    place.remove("step/b")
    assert place.names("step") == ["a"]
    place.remove("step/a")
    assert place.size("step/a/1") is None
    place.remove("step")
    place.remove("step")
    place.remove("nowhere/at/all")
    assert place.names("step") == []


def test_a_probe_leaves_nothing(place: Place) -> None:
    check_writable(place)
    assert place.names("") == []


def test_a_place_crosses_processes(place: Place) -> None:
    place.write("a", b"1")
    assert pickle.loads(pickle.dumps(place)).read("a") == b"1"


def test_a_message_names_no_credentials(place: Place, location: str) -> None:
    described = place.describe("step/part")
    assert described.endswith("/step/part")
    assert "test:" not in described
    assert "?" not in described


def test_a_catalog_commits_finds_checks_and_removes(place: Place) -> None:
    catalog = Catalog(place)
    first, second = committed_in(place, 100), committed_in(place, 200, 1, 2)
    left_over = manifest_of(300, 1, 1)
    write_parts(place, left_over)
    assert catalog.committed() == [second, first]
    assert catalog.check(second) is None
    assert catalog.sweep(1, 2, 200) == ["step-00000300/a0001-g000001"]
    catalog.remove(100)
    assert catalog.committed() == [second]
    assert "step-00000100" not in place.names("")


def test_a_name_keeps_the_options_of_a_uri_last() -> None:
    assert joined("s3://bucket/runs/?region=x", "otter", "a") == "s3://bucket/runs/otter/a?region=x"
    assert joined("s3://bucket", "otter") == "s3://bucket/otter"
    assert joined("file:///data/runs", "otter") == "/data/runs/otter"
    assert joined("runs", "otter") == "runs/otter"


def test_a_location_says_of_what_kind_it_is() -> None:
    assert isinstance(place_of("runs"), LocalPlace)
    assert isinstance(place_of(Path("runs")), LocalPlace)
    assert isinstance(place_of("file:///data"), LocalPlace)
    assert isinstance(place_of("s3://bucket"), RemotePlace)


def test_any_file_system_of_fsspec_will_do() -> None:
    place = place_of("memory://tests/checkpoints")
    committed = committed_in(place, 100)
    assert Catalog(place).check(committed) is None
    place.remove("")


def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"^cannot write .*file.*: Not a directory$"):
        check_writable(LocalPlace(tmp_path / "file" / "deep"))


def test_the_hint_of_a_folder_names_the_setting_that_puts_checkpoints_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        check_writable(LocalPlace(tmp_path / "file"))
    assert caught.value.hint == (
        "a file stands where a folder must be: move it, or choose another checkpoint.location"
    )


def test_a_bucket_that_is_not_there_is_told_in_one_sentence(s3: str) -> None:
    place = place_of(s3.format("x").replace("checkpoints/", "nowhere/"))
    with pytest.raises(StorageError, match=r"^cannot write s3://nowhere/x/\.probe-\w+: .+") as caught:
        check_writable(place)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_scheme_that_nobody_knows_is_told_in_one_sentence() -> None:
    with pytest.raises(StorageError, match=r"^cannot open nonsense://bucket/x: .+"):
        check_writable(place_of("nonsense://bucket/x"))
