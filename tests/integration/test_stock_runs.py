"""Runs that are not Tasks: existing Ray Train functions and scripts, unchanged."""

import sys
from pathlib import Path

import pytest

from orchestrator.domain.errors import RunFailed
from orchestrator.domain.spec import RunSpec
from trainers.main import train

SCRIPT = Path(__file__).with_name("stock_functions.py")


@pytest.mark.long
def test_a_ray_train_function_runs_unchanged_and_comes_back_after_a_loss(
    tmp_path: Path, local_ray: None
) -> None:
    once = tmp_path / "died"
    result = train(
        RunSpec.parse(
            {
                "entrypoint": "tests.integration.stock_functions:train_function",
                "config": {"steps": 5, "die_once": str(once)},
                "workers": 2,
                "checkpoint": {"storage": str(tmp_path / "runs")},
            }
        )
    )
    assert once.exists()
    assert result.state.status == "SUCCEEDED"
    assert result.metrics == {"step": 5.0, "world": 2.0}
    assert result.state.checkpoint is not None
    assert Path(result.state.checkpoint, "step").read_text() == "5"


def test_a_script_gets_the_environment_of_torchrun_on_every_worker(tmp_path: Path, local_ray: None) -> None:
    spec = {
        "name": "a-script",
        "command": f"{sys.executable} {SCRIPT} {tmp_path}",
        "workers": 2,
        "checkpoint": {"storage": str(tmp_path / "runs")},
    }
    train(RunSpec.parse(spec))
    assert (tmp_path / "0-of-2").read_text() == "a-script 1.0"
    assert (tmp_path / "1-of-2").read_text() == "a-script 1.0"


def test_a_script_that_keeps_failing_fails_the_run_and_says_with_what(
    tmp_path: Path, local_ray: None
) -> None:
    spec = {
        "command": "exit 7",
        "retry": {"max_failures": 0},
        "checkpoint": {"storage": str(tmp_path / "runs")},
    }
    with pytest.raises(RunFailed, match="`exit 7` exited with 7 on rank 0"):
        train(RunSpec.parse(spec))
