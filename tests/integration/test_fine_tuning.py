"""`train.from_checkpoint`: a run that begins with the parameters of another one."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import RunFailed, SpecError
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from tests.integration.checkpoint_runs import EVERY, Proof, committed, left_behind, proof, restored, spec_of
from trainers.main import RunResult, train

STEPS = 2 * EVERY


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def source(storage: Path) -> RunResult:
    """A run of three workers with AdamW."""
    return train(spec_of(storage, 3, name="source", train={"steps": STEPS}))


def tuned(storage: Path, workers: int, **more: Any) -> RunSpec:
    given = {
        "steps": STEPS,
        "from_checkpoint": f"source@{EVERY}",
        "optimizer": {"name": "sgd", "lr": 0.001, "momentum": 0.9},
    }
    return spec_of(storage, workers, train={**given, **more.pop("train", {})}, **more)


@pytest.fixture(scope="module")
def first(storage: Path, source: RunResult) -> Proof:
    return proof(train(tuned(storage, 1)).run)


@pytest.mark.parametrize("workers", [1, 2])
def test_another_optimizer_and_any_number_of_workers_give_the_same_bits_each_time(
    storage: Path, source: RunResult, first: Proof, workers: int
) -> None:
    run = train(tuned(storage, workers)).run
    assert run.spec().train.from_checkpoint == f"{source.run.checkpoints}@{EVERY}"
    assert list(committed(run)) == [EVERY, STEPS]
    assert proof(run) == first


def test_another_checkpoint_or_none_gives_other_bits(storage: Path, source: RunResult, first: Proof) -> None:
    for other in (f"source@{STEPS}", None):
        found = proof(train(tuned(storage, 1, train={"from_checkpoint": other})).run)
        assert found[0] != first[0]


@pytest.mark.long
def test_what_was_fine_tuned_is_resumed_from_its_own_checkpoint_when_the_source_is_gone(
    storage: Path, first: Proof, source: RunResult
) -> None:
    copy = train(spec_of(storage, 1, name="fleeting", train={"steps": STEPS})).run
    assert committed(copy)[EVERY].parameters_sha256 == committed(source.run)[EVERY].parameters_sha256
    spec = tuned(storage, 2, pause_s=0.02, train={"from_checkpoint": f"fleeting@{EVERY}"})
    run = left_behind(spec, after=EVERY)
    copy.checkpoints.rename(storage / "away")
    train(spec, resume=True)
    (event,) = restored(run)
    assert event["step"] == EVERY
    assert proof(run) == first


def test_a_checkpoint_of_another_model_is_refused_in_one_sentence_that_says_what_differs(
    storage: Path, source: RunResult
) -> None:
    spec = tuned(storage, 2, model={"width": 32})
    with pytest.raises((RunFailed, SpecError)) as caught:
        train(spec)
    said = str(caught.value)
    assert "train.from_checkpoint: " in said
    assert "is a checkpoint of another model: its 0.weight has shape (64, 16), the model's (32, 16)" in said
    assert "\n" not in said
    state = RunDirectory.open(storage / str(spec.name)).read_status()
    assert (state.reason, state.step) == ("SpecRefused", 0)


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("nobody", "there is no run 'nobody'"),
        ("source@15", "there is no step-00000015 in "),
        ("/nowhere/at/all", "there is no checkpoint in /nowhere/at/all"),
    ],
)
def test_what_is_not_there_is_refused_at_the_door(
    storage: Path, source: RunResult, reference: str, sentence: str
) -> None:
    spec = tuned(storage, 1, train={"from_checkpoint": reference})
    with pytest.raises(SpecError, match=f"train.from_checkpoint: .*{sentence}"):
        train(spec)
    assert not (storage / str(spec.name)).exists()
