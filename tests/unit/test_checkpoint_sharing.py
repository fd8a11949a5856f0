"""A folder that only some nodes see is named before anything is written to it."""

from pathlib import Path

import pytest

from orchestrator.checkpoints.places import LocalPlace
from orchestrator.checkpoints.sharing import check_shared, leave_mark
from orchestrator.domain.errors import SpecError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import CheckpointSpec, RunSpec


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path, RunSpec.parse({"name": "otter", "task": "language_model"}))


def test_what_the_controller_marked_a_worker_may_use(run: RunDirectory) -> None:
    place = LocalPlace(run.checkpoints)
    leave_mark(place, 1)
    check_shared(CheckpointSpec(), run.path, 1, "10.0.0.2")
    leave_mark(place, 2)
    check_shared(CheckpointSpec(), run.path, 2, "10.0.0.2")
    assert place.names("") == []
    with pytest.raises(SpecError):
        check_shared(CheckpointSpec(), run.path, 1, "10.0.0.2")


def test_a_run_directory_that_is_not_there_is_named_with_the_node(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"checkpoint\.storage: .*/otter on node 10\.0\.0\.2 is not what"):
        check_shared(CheckpointSpec(), tmp_path / "otter", 1, "10.0.0.2")


def test_a_location_of_the_same_name_that_is_another_folder_is_named(
    run: RunDirectory, tmp_path: Path
) -> None:
    leave_mark(LocalPlace(tmp_path / "seen" / "otter"), 1)
    check_shared(CheckpointSpec(location=str(tmp_path / "seen")), run.path, 1, "10.0.0.2")
    with pytest.raises(SpecError, match=r"checkpoint\.location: .*/other/otter/? on node 10\.0\.0\.2"):
        check_shared(CheckpointSpec(location=str(tmp_path / "other")), run.path, 1, "10.0.0.2")
    assert not (tmp_path / "other").exists()
