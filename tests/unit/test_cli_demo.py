import json
import random
from pathlib import Path

import pytest

from api.cli.demo import STEPS, WORKERS, demo_facts, demo_spec
from api.cli.demo_drill import Drill, Recovery, measure_recovery
from api.cli.errors import DemoFailed
from api.history import read_points
from cluster.faults import Killed
from orchestrator.domain.audit import audit
from orchestrator.domain.journal import read_journal
from orchestrator.domain.run_directory import RunDirectory
from tests.unit.recorded_run import START_S, RecordedRun, finished_run

KILLED = Killed("w2", pid=12, rank=1, generation=1, time_s=START_S + 3.25)
"""Just after the third step of `finished_run`."""


def recovery_of(run: RunDirectory) -> Recovery:
    return measure_recovery(read_points(run), read_journal(run.outbox, "events"), KILLED, full=2)


def test_what_a_kill_cost_is_read_from_the_journals(tmp_path: Path) -> None:
    # Steps are a second apart: the survivor's first is step 4, the first by two again is step 6.
    assert recovery_of(finished_run(tmp_path)) == Recovery(
        next_step_s=0.75, full_strength_s=2.75, steps_repeated=1
    )


def test_a_step_in_flight_that_the_survivor_could_still_finish_is_no_recovery(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.formed(1, "w1", "w2")
    recorded.steps(1, 4)
    recorded.formed(2, "w1", step=4)
    recorded.steps(5, 5, workers=1, generation=2)
    recorded.formed(3, "w1", "w3", step=5)
    recorded.steps(6, 6, generation=3)
    recorded.recorder.close()
    assert recovery_of(recorded.run).next_step_s == 1.75


def test_a_replacement_that_never_joined_fails_the_demo(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.formed(1, "w1", "w2")
    recorded.steps(1, 3)
    recorded.formed(2, "w1", step=3)
    recorded.steps(4, 8, workers=1, generation=2)
    recorded.ended()
    with pytest.raises(DemoFailed, match="replacement of worker w2 did not join") as caught:
        recovery_of(recorded.run)
    assert caught.value.exit_code == 1


def test_training_that_did_not_go_on_fails_the_demo(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.formed(1, "w1", "w2")
    recorded.steps(1, 3)
    recorded.recorder.close()
    with pytest.raises(DemoFailed, match="no step was done after worker w2 was killed"):
        recovery_of(recorded.run)


def test_the_last_line_of_the_demo_has_the_published_keys(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    facts = demo_facts(read_points(run), run.read_status(), recovery_of(run), audit(run))
    assert json.loads(json.dumps(facts)) == {
        "steps": 8,
        "loss_first": 4.5,
        "loss_last": 1.0,
        "val_perplexity": 2.7183,
        "kill_to_next_step_s": 0.75,
        "kill_to_full_strength_s": 2.75,
        "steps_repeated": 1,
        "tokens_per_s": 43,
        "parameters_sha256": "p" * 64,
        "audit_ok": True,
    }


def test_a_loss_that_does_not_fall_fails_the_demo(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    points = [{**point, "loss": 3.0} for point in read_points(run)]
    with pytest.raises(DemoFailed, match="the loss did not fall"):
        demo_facts(points, run.read_status(), recovery_of(run), audit(run))


def test_the_demo_trains_the_same_thing_every_time_whatever_its_name(tmp_path: Path) -> None:
    first, second = demo_spec("demo-a", tmp_path), demo_spec("demo-b", tmp_path)
    assert first.result_fingerprint() == second.result_fingerprint()
    assert (first.workers.min, first.workers.max) == (1, WORKERS)
    assert first.train.steps == STEPS


def test_a_drill_that_found_nobody_to_kill_says_why(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.started(w1=2**30, w2=2**30 + 1)
    recorded.formed(1, "w1", "w2")
    recorded.steps(1, 2)
    recorded.recorder.close()
    drill = Drill(at_step=2, full=2, rng=random.Random(1))
    drill.strike(recorded.run)
    with pytest.raises(DemoFailed, match=r"no worker was killed: worker w. of run 'brave-otter' had process"):
        drill.killed()


def test_a_drill_waits_for_its_step_and_for_all_workers(tmp_path: Path) -> None:
    recorded = RecordedRun(tmp_path)
    recorded.started(w1=2**30)
    recorded.formed(1, "w1")
    recorded.steps(1, 2, workers=1)
    recorded.recorder.close()
    drill = Drill(at_step=2, full=2)
    drill.begin(recorded.run)
    drill.end()
    with pytest.raises(DemoFailed, match="there were never 2 workers at step 2 or later"):
        drill.killed()
