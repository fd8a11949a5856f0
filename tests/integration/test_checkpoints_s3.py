"""Checkpoints in an object store: moto's S3 on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from orchestrator.domain.errors import SpecError
from orchestrator.domain.spec import RunSpec
from tests.integration.checkpoint_runs import (
    EVERY,
    STEPS,
    Proof,
    committed,
    left_behind,
    place_of_run,
    proof,
    restored,
    spec_of,
)
from tests.integration.saboteur import Watched
from tests.unit.checkpoint_places import s3
from trainers.main import train

__all__ = ["s3"]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> Proof:
    return proof(train(spec_of(storage, 1)).run)


def in_bucket(storage: Path, location: str) -> RunSpec:
    """At a pace that a bucket on a busy machine keeps up with."""
    return spec_of(storage, 2, pause_s=0.05, checkpoint={"location": location, "keep_last": 2})


@contextmanager
def credentials_checked(s3: str) -> Iterator[None]:
    """moto refuses those that it did not give out itself."""
    host = s3.partition("endpoint_override=")[2].partition("&")[0]

    def check_after(requests: bytes) -> None:
        urlopen(
            Request(f"http://{host}/moto-api/reset-auth", requests, {"Content-Type": "text/plain"})
        ).close()

    check_after(b"0")
    try:
        yield
    finally:
        check_after(b"inf")


@pytest.mark.long
def test_a_run_that_lost_everything_goes_on_from_a_bucket(s3: str, storage: Path, undisturbed: Proof) -> None:
    spec = in_bucket(storage, s3.format("team"))
    run = left_behind(spec, after=2 * EVERY)
    before = list(committed(run))
    assert before
    recorded = run.read_status().step
    train(spec, resume=True)
    (event,) = restored(run)
    assert event["step"] == before[-1]
    assert event["source"] == f"s3://checkpoints/team/{run.name}/step-{before[-1]:08d}"
    assert event["steps_repeated"] == recorded - before[-1], "those since the checkpoint, and no others"
    assert list(committed(run)) == [STEPS - EVERY, STEPS]
    assert place_of_run(run).names("") == [f"step-{step:08d}" for step in (STEPS - EVERY, STEPS)]
    assert proof(run) == undisturbed
    assert not Watched(run).events("checkpoint-skipped")
    state = [path for path in run.path.rglob("*") if path.suffix == ".safetensors" or "step-" in path.name]
    assert state == []
    assert run.read_status().checkpoint == f"s3://checkpoints/team/{run.name}/step-{STEPS:08d}"


def test_no_such_bucket_is_refused_at_the_door_in_one_sentence(s3: str, storage: Path) -> None:
    spec = in_bucket(storage, s3.format("x").replace("checkpoints/", "nowhere/"))
    must_be_refused(spec, storage, "checkpoint.location: cannot write s3://nowhere/x/", "NO_SUCH_BUCKET")


def test_wrong_credentials_are_refused_at_the_door_in_one_sentence(s3: str, storage: Path) -> None:
    with credentials_checked(s3):
        spec = in_bucket(storage, s3.format("x"))
        must_be_refused(spec, storage, "checkpoint.location: cannot write s3://checkpoints/x/", "")


def must_be_refused(spec: RunSpec, storage: Path, begin: str, inside: str) -> None:
    with pytest.raises(SpecError) as caught:
        train(spec)
    said = str(caught.value)
    assert said.startswith(begin)
    assert inside in said
    assert "\n" not in said
    assert "test:" not in said
    assert not (storage / str(spec.name)).exists()
