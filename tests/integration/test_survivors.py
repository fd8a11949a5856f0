"""What survivors feel when others are lost, join or leave: at most the step in flight."""

from typing import Any

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.errors import RunFailed
from orchestrator.domain.run_directory import RunDirectory
from tests.integration.saboteur import Watched, kill, kill_ranks, sabotage, set_target
from trainers.main import train

PACE = {"pause_s": 0.02}


def full_strength(run: Watched, workers: int) -> bool:
    started = run.events("generation-started")
    return bool(started) and len(started[-1]["workers"]) == workers


def test_two_of_three_lost_at_once_leave_the_last_one_training_on(paced: Any) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: run.step() >= 10 and full_strength(run, 3))
        survivor = list(run.members().values())[1]
        kill_ranks(run, 0, 2)
        run.wait(lambda: len(run.members()) == 1)
        assert list(run.members().values()) == [survivor]
        run.wait(lambda: full_strength(run, 3))
        assert survivor in run.members().values()

    with sabotage(plan) as saboteur:
        result = train(paced(workers="1:3", model=PACE, train={"steps": 150}), on_start=saboteur.on_start)
    repeated = [e["steps_repeated"] for e in Watched(result.run).events("generation-started")]
    assert max(repeated) <= 1, repeated
    assert audit(result.run).ok


@pytest.mark.long
def test_a_replacement_lost_while_it_starts_and_a_survivor_lost_meanwhile_cost_one_step_each(
    paced: Any,
) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: run.step() >= 10 and full_strength(run, 3))
        before = len(run.events("worker-started"))
        kill_ranks(run, 2)
        run.wait(lambda: len(run.events("worker-started")) > before)
        kill(run.events("worker-started")[-1]["pid"])  # the replacement, still starting
        kill_ranks(run, 0)  # and one of the two survivors
        run.wait(lambda: full_strength(run, 3))

    with sabotage(plan) as saboteur:
        result = train(paced(workers="1:3", model=PACE, train={"steps": 200}), on_start=saboteur.on_start)
    watched = Watched(result.run)
    assert max(e["steps_repeated"] for e in watched.events("generation-started")) <= 1
    assert [e["phase"] for e in watched.events("worker-lost")].count("starting") == 1
    assert audit(result.run).ok


@pytest.mark.long
def test_growing_and_shrinking_by_the_target_repeats_no_step(paced: Any) -> None:
    def plan(run: Watched) -> None:
        run.wait(lambda: run.step() >= 5)
        pids = set(run.members().values())
        set_target(run, 4)
        run.wait(lambda: full_strength(run, 4))
        assert pids <= set(run.members().values())
        set_target(run, 1)
        run.wait(lambda: full_strength(run, 1))
        run.wait(lambda: len(run.events("worker-retired")) == 3)

    undisturbed = train(paced(workers=1, train={"steps": 200}))
    with sabotage(plan) as saboteur:
        result = train(paced(workers="1:2", model=PACE, train={"steps": 200}), on_start=saboteur.on_start)
    watched = Watched(result.run)
    assert {e["steps_repeated"] for e in watched.events("generation-started")} == {0}
    assert not watched.events("worker-lost")
    assert result.parameters_sha256 == undisturbed.parameters_sha256
    assert audit(result.run).ok


def test_an_error_of_user_code_that_happens_once_is_survived_and_charged_to_the_user(
    paced: Any, tmp_path: Any
) -> None:
    poison = {"raise_at": 500, "raise_once_file": str(tmp_path / "raised")}
    result = train(paced(model={**PACE, **poison}, workers=2))
    errors = Watched(result.run).events("user-error")
    assert len(errors) == 1
    assert "row 500 is poison" in errors[0]["message"]
    assert "_maybe_raise" in errors[0]["traceback"]
    assert audit(result.run).ok


def test_an_error_that_comes_back_at_the_same_step_fails_the_run_with_the_users_traceback(
    paced: Any, tmp_path: Any
) -> None:
    with pytest.raises(RunFailed, match="row 500 is poison"):
        train(paced(model={"raise_at": 500}, workers=2))
    run = Watched(RunDirectory.open(next(tmp_path.glob("*/run.json")).parent))
    assert run.run.read_status().reason == "NoProgress"
    steps = [e["step"] for e in run.events("user-error")]
    assert len(set(steps)) == 1
    assert 3 <= len(steps) <= 6  # three incidents, of up to both workers each


def test_a_model_that_could_not_keep_its_bits_is_refused_in_one_sentence(paced: Any) -> None:
    with pytest.raises(RunFailed, match=r"buffer '1.running_mean' changes while the model trains"):
        train(paced(model={"batch_norm": True}))
