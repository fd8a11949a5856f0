"""`tumbler chaos` against a living run, each drill from a process of its own as a person would start it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.audit import audit
from tests.integration.saboteur import Watched, sabotage
from trainers.main import train

TUMBLER = "import sys; from api.cli.main import main; sys.exit(main())"


def chaos(*words: str) -> Any:
    """What the command printed for programs."""
    command = [sys.executable, "-c", TUMBLER, "chaos", *words, "-o", "json"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.soak
def test_a_run_survives_all_drills_of_its_workers_with_the_same_bits(paced: Any) -> None:
    model, retry = {"pause_s": 0.04}, {"on_nan": "rollback", "max_losses_without_progress": 20}
    said: dict[str, Any] = {}

    def plan(run: Watched) -> None:
        def strong() -> bool:
            return len(run.members()) == 2 and not run.run.read_status().phase

        run.wait(lambda: run.step() >= 3 and strong())
        where = str(run.run.path)
        said["kill"] = chaos("kill-worker", where, "--rank", "1")
        run.wait(strong)
        said["hang"] = chaos("hang-worker", where)
        run.wait(strong)
        said["slow"] = chaos("slow-worker", where, "--rank", "0", "--factor", "2")
        said["fast"] = chaos("slow-worker", where, "--rank", "0", "--factor", "1")
        said["nan"] = chaos("nan", where)
        run.wait(lambda: bool(run.events("rolled-back")))
        said["storm"] = chaos("storm", where, "--kills", "2", "--resizes", "2", "--seed", "3")

    spec = paced(workers="1:2", model=model, retry=retry, train={"steps": 150})
    with sabotage(plan) as saboteur:
        result = train(spec, on_start=saboteur.on_start)
        saboteur.thread.join(timeout=60)
    undisturbed = train(paced(workers=1, train={"steps": 150}))
    assert result.parameters_sha256 == undisturbed.parameters_sha256
    assert audit(result.run).chain == audit(undisturbed.run).chain
    run = Watched(result.run)
    assert said["kill"]["next_step_s"] < 5
    assert said["hang"]["worker"] in {event["worker"] for event in run.events("worker-hung")}
    assert said["hang"]["next_step_s"] > said["kill"]["next_step_s"]
    assert said["slow"]["shard_slower_s"] > 0 == said["fast"]["shard_slower_s"]
    assert len(run.events("not-finite")) == 1
    storm = said["storm"]
    assert [fault["kind"] for fault in storm["faults"]].count("kill") == 2
    assert (storm["ok"], storm["problems"], storm["processes"]) == (True, [], [])
    assert (storm["rows_repeated"], storm["rows_missed"], storm["steps"]) == (0, 0, 150)
