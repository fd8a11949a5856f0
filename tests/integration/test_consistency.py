"""Fast runs, accumulated runs, and attempts on another platform, with real workers."""

import json
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from orchestrator.domain.errors import RunFailed
from orchestrator.domain.run_directory import RunDirectory
from tests.integration.saboteur import Watched, kill_ranks, sabotage
from trainers.main import RunResult, train

IN_PIECES = {"micro_batch": 1, "precision": "bf16", "clip_grad_norm": 1.0}


def test_a_fast_run_survives_a_kill_and_its_audit_says_what_its_chain_is_worth(paced: Any) -> None:
    def kill_one(run: Watched) -> None:
        run.wait(lambda: run.step() >= 20)
        kill_ranks(run, 1)

    with sabotage(kill_one) as saboteur:
        result = train(
            paced(train={"consistency": "fast"}, model={"pause_s": 0.02}), on_start=saboteur.on_start
        )
    report = audit(result.run)
    assert report.ok, report.problems
    assert "can only be compared" in report.notes[0]
    assert result.state.step == 60


def test_accumulation_clipping_and_bf16_have_the_same_bits_with_one_and_two_workers(paced: Any) -> None:
    results: list[RunResult] = [
        train(paced(workers=n, train={**IN_PIECES, "steps": 20, "evaluate_every": 10})) for n in (1, 2)
    ]
    assert len({result.parameters_sha256 for result in results}) == 1
    assert len({audit(result.run).chain for result in results}) == 1
    assert results[0].metrics["val_loss"] == results[1].metrics["val_loss"]


def test_a_later_attempt_on_another_platform_is_refused_before_a_step(paced: Any) -> None:
    spec = paced(model={"raise_at": 500}, retry={"max_failures": 0})
    folders: list[RunDirectory] = []
    with pytest.raises(RunFailed, match="row 500 is poison"):
        train(spec, on_start=folders.append)
    (run,) = folders
    step = run.read_status().step
    assert step > 0
    record = json.loads((run.path / "platform.json").read_text())
    record["fingerprint"]["instructions"] = "ABACUS"
    (run.path / "platform.json").write_text(json.dumps(record))
    with pytest.raises(RunFailed, match="instructions was ABACUS and is"):
        train(spec, resume=True)
    assert run.read_status().step == step
