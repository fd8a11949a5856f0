"""What a run may start from: references, how they are pinned, and each way in which they can fail."""

from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from orchestrator.checkpoints.catalog import Committed
from orchestrator.checkpoints.places import LocalPlace, Place, place_of
from orchestrator.checkpoints.references import pin, resolve
from orchestrator.checkpoints.settling import asks_storage, settle
from orchestrator.domain.checkpoint_reference import CheckpointReference
from orchestrator.domain.errors import TumblerError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.spec_parts import joined
from tests.unit.checkpoint_places import committed_in, location, s3

__all__ = ["location", "s3"]
PART = "a0001-g000001/part-000-004.safetensors"
LOSSES = {100: 3.0, 200: 1.0, 300: 2.0}


def spec_of(name: str, **content: Any) -> RunSpec:
    return RunSpec.parse({"name": name, "task": "language_model", **content})


def run_with_checkpoints(storage: Path, name: str = "otter", **checkpoint: Any) -> tuple[RunDirectory, Place]:
    run = RunDirectory.create(storage, spec_of(name, checkpoint=checkpoint))
    place = place_of(run.spec().checkpoint.checkpoints_of(run.path))
    for step, loss in LOSSES.items():
        committed_in(place, step, metrics={"val_loss": loss, "accuracy": step / 1000})
    return run, place


def refusal(reference: str, storage: Path) -> str:
    with pytest.raises(TumblerError) as caught:
        resolve(reference, storage)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("otter", CheckpointReference("otter")),
        ("otter@400", CheckpointReference("otter", 400)),
        ("otter@best", CheckpointReference("otter", best=True)),
        ("a@b/otter", CheckpointReference("a@b/otter")),
        ("s3://key:secret@bucket", CheckpointReference("s3://key:secret@bucket")),
        ("s3://b/otter?region=x@400", CheckpointReference("s3://b/otter?region=x", 400)),
    ],
)
def test_a_reference_is_a_source_and_perhaps_a_step(text: str, expected: CheckpointReference) -> None:
    assert CheckpointReference.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize("which", ["400", "best"])
def test_a_step_may_stand_before_the_options_of_a_uri(which: str) -> None:
    behind = CheckpointReference.parse(f"s3://key:secret@b/team/otter?region=x&scheme=http@{which}")
    assert CheckpointReference.parse(f"s3://key:secret@b/team/otter@{which}?region=x&scheme=http") == behind
    bucket = f"s3://key:secret@{which}?region=x"
    assert CheckpointReference.parse(bucket) == CheckpointReference(bucket)


def test_a_run_is_found_by_name_and_by_path_and_its_checkpoints_by_theirs(tmp_path: Path) -> None:
    run, _ = run_with_checkpoints(tmp_path)
    newest = f"{run.checkpoints}@300"
    for reference in ("otter", str(run.path), str(run.checkpoints), f"file://{run.checkpoints}", newest):
        assert pin(reference, tmp_path) == newest
    for reference in ("otter@200", "otter@best", f"{run.path}@200", f"{run.checkpoints}/step-00000200"):
        assert pin(reference, tmp_path) == f"{run.checkpoints}@200"
    place, committed = resolve("otter@100", tmp_path)
    assert (place.describe(""), committed) == (str(run.checkpoints), Committed(100, 1, 1))


def test_what_is_best_is_as_the_run_says(tmp_path: Path) -> None:
    run, _ = run_with_checkpoints(tmp_path, keep_best={"metric": "accuracy", "mode": "max"})
    assert pin("otter@best", tmp_path) == f"{run.checkpoints}@300"
    assert pin(f"{run.checkpoints}@best", tmp_path) == f"{run.checkpoints}@300"


def test_checkpoints_of_a_run_are_found_where_it_puts_them(tmp_path: Path, location: str) -> None:
    _, place = run_with_checkpoints(tmp_path / "storage", location=location)
    at = joined(location, "otter")
    for reference in ("otter", at, joined(at, "step-00000300")):
        assert pin(reference, tmp_path / "storage") == f"{at}@300"
    assert resolve(f"{at}@best", tmp_path)[1] == Committed(200, 1, 1)
    assert place.names("")[0] == "step-00000100"


def test_each_way_to_fail_has_its_sentence(tmp_path: Path) -> None:
    run, place = run_with_checkpoints(tmp_path)
    where = run.checkpoints
    RunDirectory.create(tmp_path, spec_of("badger"))
    assert refusal("stoat", tmp_path) == f"there is no run 'stoat' in {tmp_path}"
    assert refusal("badger", tmp_path) == f"there is no checkpoint in {tmp_path}/badger/checkpoints"
    assert refusal(f"{tmp_path}/nowhere", tmp_path) == f"there is no checkpoint in {tmp_path}/nowhere"
    with pytest.raises(TumblerError) as caught:
        resolve(f"{tmp_path}/nowhere", tmp_path)
    assert "an export is none" in caught.value.hint
    assert refusal("otter@150", tmp_path) == (
        f"there is no step-00000150 in {where}; there are steps 300, 200, 100"
    )
    both = f"{where}/step-00000100@200"
    assert refusal(both, tmp_path) == f"{both} names two checkpoints; leave out what follows the @"
    part = f"step-00000300/{PART}"
    place.write(part, b"short")
    assert refusal("otter", tmp_path) == f"{where}/{part} is damaged: it has 5 bytes, expected 40"
    place.remove(part)
    assert refusal("otter", tmp_path) == f"{where}/{part} is gone"
    manifest = "step-00000300/manifest-a0001-g000001.json"
    place.write(manifest, place.read(manifest)[:-5])
    assert refusal("otter", tmp_path) == f"{where}/{manifest} is damaged: it is no JSON"
    assert pin("otter@200", tmp_path) == f"{where}@200"


def test_without_the_metric_none_is_the_best(tmp_path: Path) -> None:
    committed_in(LocalPlace(tmp_path / "source"), 100)
    assert refusal(f"{tmp_path}/source@best", tmp_path) == (
        f"no checkpoint in {tmp_path}/source has the metric val_loss, so none is the best"
    )


def settled(spec: RunSpec, storage: Path) -> str | None:
    found, problems = settle(spec, storage)
    assert problems == []
    return found.train.from_checkpoint


def test_a_resumed_run_stays_with_what_it_started_from(tmp_path: Path) -> None:
    source, _ = run_with_checkpoints(tmp_path, "source")
    asked = spec_of("otter", train={"from_checkpoint": "source"})
    assert asks_storage(asked)
    first = f"{source.checkpoints}@300"
    assert settled(asked, tmp_path) == first
    run = RunDirectory.create(tmp_path, settle(asked, tmp_path)[0])
    committed_in(LocalPlace(source.checkpoints), 400)
    assert settled(asked, tmp_path) == first
    assert settled(spec_of("otter", train={"from_checkpoint": "source@300"}), tmp_path) == first
    assert settled(spec_of("otter", train={"from_checkpoint": "source@400"}), tmp_path) != first
    assert settled(spec_of("badger", train={"from_checkpoint": "source"}), tmp_path) != first
    LocalPlace(source.checkpoints).remove("step-00000300")
    (problem,) = settle(asked, tmp_path)[1]
    assert problem.pointer == "train.from_checkpoint"
    committed_in(LocalPlace(run.checkpoints), 100)
    assert settled(asked, tmp_path) == first


def test_a_place_with_the_checkpoints_of_another_run_is_refused(tmp_path: Path, location: str) -> None:
    run, _ = run_with_checkpoints(tmp_path / "one", location=location)
    assert settle(run.spec(), tmp_path / "one")[1] == []
    (problem,) = settle(run.spec(), tmp_path / "two")[1]
    assert problem.pointer == "checkpoint.location"
    assert problem.message.endswith(
        "/otter has the checkpoints of another run; choose another name or location"
    )


def test_a_bucket_that_is_not_there_is_refused_as_location_and_as_source(s3: str, tmp_path: Path) -> None:
    nowhere = s3.format("x").replace("checkpoints/", "nowhere/")
    spec = spec_of("otter", checkpoint={"location": nowhere}, train={"from_checkpoint": nowhere})
    location, source = settle(spec, tmp_path)[1]
    assert str(location).startswith("checkpoint.location: cannot write s3://nowhere/x/.probe-")
    assert str(source).startswith("train.from_checkpoint: ")
    assert "s3://nowhere/x" in source.message
    assert "NO_SUCH_BUCKET" in location.message


def test_wrong_credentials_are_refused_as_location(s3: str, tmp_path: Path) -> None:
    host = s3.partition("endpoint_override=")[2].partition("&")[0]
    spec = spec_of("otter", checkpoint={"location": s3.format("x")})

    def check_credentials(after: bytes) -> None:
        """From now on moto refuses those that it did not give out itself, after so many requests."""
        urlopen(Request(f"http://{host}/moto-api/reset-auth", after, {"Content-Type": "text/plain"})).close()

    check_credentials(b"0")
    try:
        (problem,) = settle(spec, tmp_path)[1]
    finally:
        check_credentials(b"inf")
    assert str(problem).startswith("checkpoint.location: cannot write s3://checkpoints/x/.probe-")
    assert "\n" not in problem.message
    assert settle(spec, tmp_path)[1] == []


def test_a_run_that_keeps_its_checkpoints_and_starts_afresh_asks_no_storage() -> None:
    assert not asks_storage(spec_of("otter"))
