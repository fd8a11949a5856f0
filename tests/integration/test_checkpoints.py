"""A run that lost everybody goes on from its newest good checkpoint, at any number of workers, and ends with
the bits of one that nobody disturbed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from orchestrator.domain.errors import RunFailed
from orchestrator.domain.run_directory import RunDirectory
from orchestrator.domain.spec import RunSpec
from orchestrator.domain.status import EndReason
from tests.integration.checkpoint_runs import (
    EVERY,
    STEPS,
    Proof,
    committed,
    go_on_with,
    left_behind,
    newest,
    num_writers,
    proof,
    restored,
    spec_of,
    wait_committed,
)
from tests.integration.saboteur import Watched, controller_of, kill, sabotage, set_target
from trainers.main import train

Killed = tuple[RunSpec, RunDirectory]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> Proof:
    return proof(train(spec_of(storage, 1)).run)


@pytest.fixture(scope="module")
def killed_once(storage: Path) -> Killed:
    spec = spec_of(storage, 3, pause_s=0.02)
    run = left_behind(spec, after=30)
    assert 30 <= newest(run) < STEPS
    shutil.copytree(run.path, storage / "copy")
    return spec, run


@pytest.fixture
def killed(killed_once: Killed, storage: Path) -> Killed:
    """A run of three workers as it lay when it was dead, with checkpoints of steps 10, 20, 30."""
    spec, run = killed_once
    shutil.rmtree(run.path)
    shutil.copytree(storage / "copy", run.path)
    return spec, run


@pytest.mark.parametrize("workers", [1, 2])
def test_what_three_workers_saved_any_other_number_goes_on_from(
    killed: Killed, undisturbed: Proof, workers: int
) -> None:
    spec, run = killed
    before = committed(run)
    assert {num_writers(manifest) for manifest in before.values()} == {3}
    go_on_with(spec, workers)
    (event,) = restored(run)
    assert (event["step"], len(event["workers"]), event["attempt"]) == (max(before), workers, 2)
    assert event["steps_repeated"] <= EVERY
    after = committed(run)
    assert {step: after.pop(step) for step in before} == before
    assert list(after) == list(range(max(before) + EVERY, STEPS + 1, EVERY))
    assert {num_writers(manifest) for manifest in after.values()} == {workers}
    assert proof(run) == undisturbed


def test_all_workers_killed_at_once_go_on_from_the_newest_checkpoint_with_fewer(
    storage: Path, undisturbed: Proof
) -> None:
    def kill_all(run: Watched) -> None:
        run.wait(lambda: len(run.members()) == 3)
        wait_committed(run, 2 * EVERY)
        for pid in run.members().values():
            kill(pid)
        set_target(run, 2)

    with sabotage(kill_all) as saboteur:
        result = train(spec_of(storage, "2:3", pause_s=0.02), on_start=saboteur.on_start)
    (event,) = restored(result.run)
    events = Watched(result.run).events()
    before = [e["step"] for e in events[: events.index(event)] if e["kind"] == "checkpoint-committed"]
    assert event["step"] == before[-1]
    assert len(event["workers"]) == 2
    assert event["steps_repeated"] <= EVERY
    assert num_writers(committed(result.run)[event["step"]]) == 3
    assert proof(result.run) == undisturbed


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        pytest.param("a*/part-003-*.safetensors", flip, id="a-bit-of-a-part-is-flipped"),
        pytest.param("a*/part-000-*.safetensors", cut, id="a-part-is-cut", marks=pytest.mark.soak),
        pytest.param(
            "a*/part-006-*.safetensors", Path.unlink, id="a-part-is-missing", marks=pytest.mark.soak
        ),
        pytest.param("manifest-*.json", flip, id="a-bit-of-the-manifest-is-flipped", marks=pytest.mark.soak),
        pytest.param("manifest-*.json", cut, id="the-manifest-is-cut"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    killed: Killed, undisturbed: Proof, pattern: str, damage: Callable[[Path], None]
) -> None:
    spec, run = killed
    newest_step, folder = newest(run), run.checkpoints / f"step-{newest(run):08d}"
    (victim,) = folder.glob(pattern)
    damage(victim)
    train(spec, resume=True)
    (skipped,) = Watched(run).events("checkpoint-skipped")
    assert skipped["path"] == str(folder)
    assert str(victim) in skipped["message"]
    assert "\n" not in skipped["message"]
    (event,) = restored(run)
    before = newest_step - EVERY
    assert (event["step"], event["source"]) == (before, str(run.checkpoints / f"step-{before:08d}"))
    assert committed(run)[newest_step].attempt == 2
    assert proof(run) == undisturbed


def test_rays_own_books_are_not_needed_to_go_on(killed: Killed, undisturbed: Proof) -> None:
    """Ray does not replace the file as a whole, so a kill may tear it."""
    spec, run = killed
    (books,) = run.checkpoints.glob("*.json")
    books.write_text("")
    train(spec, resume=True)
    assert proof(run) == undisturbed


def test_a_newest_checkpoint_that_somebody_removed_is_done_again(killed: Killed, undisturbed: Proof) -> None:
    spec, run = killed
    last = newest(run)
    shutil.rmtree(run.checkpoints / f"step-{last:08d}")
    train(spec, resume=True)
    assert [event["step"] for event in restored(run)] == [last - EVERY]
    assert proof(run) == undisturbed


def test_a_pause_commits_a_checkpoint_of_the_step_it_stopped_at_and_nothing_is_repeated(
    storage: Path, undisturbed: Proof
) -> None:
    def pause(run: Watched) -> None:
        run.wait(lambda: run.step() >= 5)
        controller = controller_of(run.run)
        ray.get(controller.request_stop.remote(EndReason.USER_PAUSED, "it is wanted elsewhere"))

    seldom = {"every": 50, "link_every": EVERY}
    spec = spec_of(storage, 2, pause_s=0.02, stop={"grace": 20}, checkpoint=seldom)
    with sabotage(pause) as saboteur, pytest.raises(RunFailed, match="UserPaused"):
        train(spec, on_start=saboteur.on_start)
    run = RunDirectory.open(storage / str(spec.name))
    state = run.read_status()
    assert (state.status, state.reason) == ("PAUSED", "UserPaused")
    assert 5 <= state.step < 50
    assert list(committed(run)) == [state.step]
    assert state.checkpoint == str(run.checkpoints / f"step-{state.step:08d}")
    train(spec, resume=True)
    (event,) = restored(run)
    assert (event["step"], event["steps_repeated"]) == (state.step, 0)
    assert proof(run) == undisturbed


def test_the_newest_and_every_so_many_and_the_best_are_kept_and_nothing_else(storage: Path) -> None:
    kept = {"keep_last": 2, "keep_every": 30, "keep_best": {"metric": "val_loss", "mode": "max"}}
    spec = spec_of(storage, 2, train={"evaluate_every": EVERY}, checkpoint=kept)
    run = train(spec).run
    losses = {event["step"]: event["metrics"]["val_loss"] for event in Watched(run).events("evaluated")}
    assert list(losses) == list(range(EVERY, STEPS + 1, EVERY))
    worst = max(losses, key=lambda step: (losses[step], step))
    assert worst not in (30, 50, 60), "the test would prove nothing"
    assert set(committed(run)) == {worst, 30, 50, 60}
    for step, manifest in committed(run).items():
        assert manifest.metrics["val_loss"] == losses[step]
        folder = run.checkpoints / f"step-{step:08d}"
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            [f"a0001-g{manifest.generation:06d}", f"manifest-a0001-g{manifest.generation:06d}.json"]
        )
    assert {path.name for path in run.checkpoints.glob("step-*")} == {
        f"step-{step:08d}" for step in committed(run)
    }
    assert json.loads(run.status_path.read_text())["checkpoint"].endswith("step-00000060")
